-- What a subscriber keeps beside the effects of its handlers, so that they commit together: where it stands, and what
-- it has handled above that. What it could not handle is 0003_dead_letter's.

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
    incarnation  bigint NOT NULL DEFAULT 0,     -- of seq: another life of the store counts anew
    seq          bigint NOT NULL DEFAULT 0,
    at           timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscription, source, id)
);
CREATE INDEX inbox_above ON inbox (subscription, topic, partition, incarnation, seq) WHERE seq > 0;
CREATE INDEX inbox_at ON inbox USING brin (at);
