-- Whether every event reached each of those that must have it: the relay (and by it Kafka), and each view. A reader counts
-- what it takes in, by blocks of 10,000 numbers of seq, in the transaction that moves its cursor; the keeper holds that
-- against the event table (events/tally.h).
CREATE TABLE tally_reader (
    role        text NOT NULL COLLATE "C",   -- its lease: relay, view:NAME
    generation  bigint NOT NULL,             -- of a view; 0: it has none
    domain      text[],                      -- of the domain class, events of these types; NULL: all
    saga        text[] NOT NULL,             -- of the saga class
    begun_seq   bigint NOT NULL,             -- it counts what comes after this
    checked_seq bigint NOT NULL DEFAULT 0,   -- blocks up to here were compared
    looked_seq  bigint NOT NULL DEFAULT 0,   -- and the one behind them up to here
    PRIMARY KEY (role, generation)
);
CREATE TABLE tally (
    role       text NOT NULL COLLATE "C",
    generation bigint NOT NULL,
    block      bigint NOT NULL,              -- seq in (block * 10000, (block + 1) * 10000]
    events     bigint NOT NULL,
    seqs       bigint NOT NULL,              -- the sum of seq - block * 10000: one missing and one twice differ
    PRIMARY KEY (role, generation, block)
) WITH (fillfactor = 50);
-- Ranges in which a reader took in other events than the store has.
CREATE TABLE tally_gap (
    role        text NOT NULL COLLATE "C",
    generation  bigint NOT NULL,
    block       bigint NOT NULL,
    from_seq    bigint NOT NULL,
    to_seq      bigint NOT NULL,
    events      bigint NOT NULL,             -- that the store has
    taken       bigint NOT NULL,             -- that the reader took in
    found_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    accepted_at timestamptz,                 -- an operator has seen it and mended what there was
    accepted_by text,
    reason      text,
    PRIMARY KEY (role, generation, block)
);
