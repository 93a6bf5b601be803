-- What could not be handled, of subscribers in a service's schema and of push subscriptions in the store's own.

-- Keys held back: an event of the key could not be handled, so its successors wait behind it as dead letters. Who
-- releases a key locks its row, has its dead letters handled in order and deletes the row, all in one transaction;
-- a member that meets an event of the key locks the row too, and so waits for the end of that.
CREATE TABLE quarantine (
    subscription text NOT NULL,
    topic        text NOT NULL,
    key          bytea NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at       timestamptz,                   -- when to try to release it; NULL: when an operator says so
    pace_us      bigint NOT NULL DEFAULT 0,     -- so long for each of its dead letters nothing else is handed over
    PRIMARY KEY (subscription, topic, key)
);
CREATE INDEX quarantine_due ON quarantine (subscription, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE dead_letter (
    no              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription    text NOT NULL,
    topic           text NOT NULL,
    partition       int NOT NULL,
    record_offset   bigint NOT NULL,            -- -1: came from the store, not from Kafka
    incarnation     bigint NOT NULL DEFAULT 0,
    seq             bigint NOT NULL DEFAULT 0,
    event_id        text,
    source          text,
    type            text,
    key             bytea,
    header_names    text[] NOT NULL DEFAULT '{}',
    header_values   bytea[] NOT NULL DEFAULT '{}',
    value           bytea,
    record_time     timestamptz,
    reason          text NOT NULL CHECK (reason IN ('failed', 'rejected', 'undecodable', 'blocked')),
    error           text NOT NULL DEFAULT '',
    fingerprint     text NOT NULL DEFAULT '',   -- the error without what differs from event to event: a group
    attempts        int NOT NULL DEFAULT 0,
    first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held            boolean NOT NULL,           -- waits in the quarantine of its key
    due_at          timestamptz,                -- not held: when to try again; NULL: when an operator says so
    pace_us         bigint NOT NULL DEFAULT 0,  -- as in quarantine
    edited          boolean NOT NULL DEFAULT false,
    ended           text CHECK (ended IN ('handled', 'discarded')),
    ended_at        timestamptz,
    ended_reason    text
);
CREATE INDEX dead_letter_held ON dead_letter (subscription, topic, key, no) WHERE ended IS NULL AND held;
CREATE INDEX dead_letter_due ON dead_letter (subscription, due_at) WHERE ended IS NULL AND due_at IS NOT NULL;
CREATE INDEX dead_letter_open ON dead_letter (subscription, fingerprint, no) WHERE ended IS NULL;
CREATE INDEX dead_letter_ended ON dead_letter (ended_at) WHERE ended IS NOT NULL;
