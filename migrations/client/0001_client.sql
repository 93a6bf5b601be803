-- What a service needs in its own database, in a schema of its own (search_path): the barrier that makes
-- effects happen once and never after their undo, and the position of its command consumer.

-- One row a saga step and direction of a participant. Inserted first, in the transaction of the effect.
CREATE TABLE barrier (
    saga_id    uuid NOT NULL,
    saga_no    bigint NOT NULL DEFAULT 0,       -- for purging below the mark of ended sagas
    step       text NOT NULL,
    direction  text NOT NULL CHECK (direction IN ('forward', 'compensate')),
    command_id uuid NOT NULL,
    outcome    text NOT NULL,                   -- success, failure, voided: what a repeat is told again
    reply      bytea,                           -- the reply's body, the same bytes again
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga_id, step, direction, command_id)
);
CREATE INDEX barrier_at ON barrier (at);

-- Where a consumer is: offsets move in the transaction of the effects they stand for.
CREATE TABLE position (
    subscription text NOT NULL,
    topic        text NOT NULL,
    partition    int NOT NULL,
    incarnation  bigint NOT NULL DEFAULT 0,
    seq          bigint NOT NULL DEFAULT 0,
    next_offset  bigint NOT NULL DEFAULT 0,
    cluster_id   text NOT NULL DEFAULT '',
    epoch        bigint NOT NULL DEFAULT 0,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (subscription, topic, partition)
) WITH (fillfactor = 20);
