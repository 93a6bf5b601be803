-- Push subscriptions. Where one is is its lease `push:NAME` (cursor: everything up to there is decided); what could not be
-- delivered is in quarantine and dead_letter (0010).
CREATE TABLE push (
    name          text PRIMARY KEY COLLATE "C",
    version       int NOT NULL,                 -- of the definition that is in use
    begun_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    paused_at     timestamptz,                  -- by an operator, or because the endpoint answered 410
    paused_by     text,
    paused_reason text,
    problem       text NOT NULL DEFAULT '',     -- why it does not move
    delivered     bigint NOT NULL DEFAULT 0,
    failures      bigint NOT NULL DEFAULT 0,    -- tries
    dead          bigint NOT NULL DEFAULT 0,
    delivered_at  timestamptz
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.02);
