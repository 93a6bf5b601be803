-- Views. The rows of generation N of table T are sagabus_view."T_gN"; people read the SQL view sagabus_view."T".
-- The lease `view:NAME` is the checkpoint: cursor = folded seq, next = live generation.
CREATE SCHEMA IF NOT EXISTS sagabus_view;

-- Generations that were ever live and still stand: the live one, and the one before it. A table of a generation
-- that is not here is what a replay left behind, and the next replay drops it.
CREATE TABLE view_generation (
    view        text NOT NULL COLLATE "C",
    generation  bigint NOT NULL CHECK (generation > 0),
    version     int NOT NULL,                     -- of the definition it was folded with
    fingerprint bytea NOT NULL,                   -- of that definition and the upcasts of its event types
    live        boolean NOT NULL,
    seq         bigint NOT NULL DEFAULT 0,        -- of an old one: how far it was folded when it was retired
    live_since  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (view, generation)
);
CREATE UNIQUE INDEX view_generation_live ON view_generation (view) WHERE live;

-- Whose a table is: two views with a table of the same name would overwrite each other's SQL view.
CREATE TABLE view_table (
    table_name text PRIMARY KEY COLLATE "C",
    view       text NOT NULL COLLATE "C"
);

-- Keys that could not be folded further. Their rows stay as they were before first_seq. Forgotten with their
-- generation.
CREATE TABLE view_parked (
    parked_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view       text NOT NULL COLLATE "C",
    generation bigint NOT NULL,
    table_name text NOT NULL COLLATE "C",
    key        text COLLATE "C",                  -- NULL: it could not be read, only that event was passed over
    first_seq  bigint NOT NULL,
    event_type text NOT NULL,
    error      text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX view_parked_view ON view_parked (view, generation);
