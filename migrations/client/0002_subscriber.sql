-- What a subscriber keeps beside the effects of its handlers, so that they commit together: where it stands, what
-- it has handled above that, which keys are held back, and what could not be handled.

-- Where a subscription stands in a partition: everything up to here is handled. The epoch rises with every
-- assignment, and every transaction of a member holds its row with its epoch: one that lost the partition, and does
-- not know it, commits nothing.
CREATE TABLE position (
    subscription text NOT NULL,
    topic        text NOT NULL,
    partition    int NOT NULL,
    epoch        bigint NOT NULL DEFAULT 0,
    owner        text NOT NULL DEFAULT '',
    incarnation  bigint NOT NULL DEFAULT 0,     -- of the store; 0: no record of a store has been handled
    seq          bigint NOT NULL DEFAULT 0,
    next_offset  bigint NOT NULL DEFAULT -1,    -- a hint, good for this cluster only; -1: none
    cluster_id   text NOT NULL DEFAULT '',
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, topic, partition)
) WITH (fillfactor = 20);

-- Events that were handled and that the position does not cover: of topics without positions of a store, and those
-- above the position, which other lanes finished first (seq > 0; they go as the position passes them).
CREATE TABLE inbox (
    subscription text COLLATE "C" NOT NULL,
    source       text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    topic        text NOT NULL,
    partition    int NOT NULL,
    seq          bigint NOT NULL DEFAULT 0,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription, source, id)
);
CREATE INDEX inbox_above ON inbox (subscription, topic, partition, seq) WHERE seq > 0;
CREATE INDEX inbox_at ON inbox USING brin (at);

-- Keys held back: an event of the key could not be handled, so its successors wait behind it as dead letters. Who
-- releases a key locks its row, has its dead letters handled in order and deletes the row, all in one transaction;
-- a member that meets an event of the key locks the row too, and so waits for the end of that.
CREATE TABLE quarantine (
    subscription text NOT NULL,
    topic        text NOT NULL,
    key          bytea NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at       timestamptz,                   -- when to try to release it; NULL: when an operator says so
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
    edited          boolean NOT NULL DEFAULT false,
    ended           text CHECK (ended IN ('handled', 'discarded')),
    ended_at        timestamptz,
    ended_reason    text
);
CREATE INDEX dead_letter_held ON dead_letter (subscription, topic, key, no) WHERE ended IS NULL AND held;
CREATE INDEX dead_letter_due ON dead_letter (subscription, due_at) WHERE ended IS NULL AND due_at IS NOT NULL;
CREATE INDEX dead_letter_open ON dead_letter (subscription, fingerprint, no) WHERE ended IS NULL;
CREATE INDEX dead_letter_ended ON dead_letter (ended_at) WHERE ended IS NOT NULL;
