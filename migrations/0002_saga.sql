-- Sagas. A saga IS its stream of events (class 2, stream_no = no); its row is written at the start, because it
-- holds the unique business key, the input and the definition, and at the end; in between only for what is slow,
-- paused, compensating or needs an operator. No index on anything that changes.
CREATE TABLE saga (
    no              bigint PRIMARY KEY,            -- shard << 48 | counter; the saga id carries it
    id              uuid NOT NULL,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    wake_at         timestamptz,
    type            text NOT NULL COLLATE "C",
    key             text NOT NULL COLLATE "C",     -- the business key, the Idempotency-Key
    definition_hash bytea NOT NULL,
    request_hash    bytea NOT NULL,                -- of the input's bytes; the same key with another input is refused
    version         int NOT NULL,                  -- of the stream, as of this row
    shard           smallint NOT NULL,
    status          smallint NOT NULL,             -- 1 started 2 completed 3 compensating 4 compensated 5 failed
    paused          boolean NOT NULL DEFAULT false,
    attention       boolean NOT NULL DEFAULT false,
    step            text,
    participant     text,
    error           text,
    fingerprint     bigint,                        -- of error, for grouping
    correlation     text,
    traceparent     text,
    input           bytea NOT NULL,
    result          bytea,
    UNIQUE (type, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX saga_started ON saga (started_at DESC, no DESC);
-- What is searched for among sagas that met trouble. A saga that does not keeps these columns NULL from its start to its
-- end, so its rows are in neither index and its updates stay HOT.
CREATE INDEX saga_trouble ON saga (started_at DESC, no DESC) WHERE error IS NOT NULL OR step IS NOT NULL;
CREATE INDEX saga_fingerprint ON saga (fingerprint, started_at DESC, no DESC) WHERE fingerprint IS NOT NULL;
ALTER TABLE saga ALTER COLUMN input SET COMPRESSION lz4;

-- Verbs for sagas that another instance owns: written by any instance, taken by the owner in order.
CREATE TABLE saga_command (
    command_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_no      bigint NOT NULL,
    shard        smallint NOT NULL,
    verb         text NOT NULL,
    body         jsonb NOT NULL DEFAULT '{}',
    requested_by text NOT NULL,
    reason       text,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at      timestamptz,
    outcome      text,
    audit_no     bigint                            -- of the act on many sagas that it belongs to
) WITH (fillfactor = 70);
CREATE INDEX saga_command_saga ON saga_command (saga_no);
CREATE INDEX saga_command_requested ON saga_command (requested_at DESC, command_no DESC);
CREATE INDEX saga_command_audit ON saga_command (audit_no) WHERE audit_no IS NOT NULL;
CREATE INDEX saga_command_open ON saga_command (shard, command_no) WHERE done_at IS NULL;
