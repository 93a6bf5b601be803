-- Folded states of streams (include/sagabus/aggregate.h), so that a long stream need not be read whole. Written beside
-- the history, never in an append's transaction; while a stream is kept whole its rows can be made again from it, so
-- they may be deleted at any time.
CREATE TABLE snapshot (
    stream_no bigint NOT NULL,                       -- stream.stream_no
    aggregate text NOT NULL COLLATE "C",             -- which fold: several may read one stream
    form      int NOT NULL CHECK (form > 0),         -- version of the state's bytes; a reader of another form ignores it
    version   int NOT NULL CHECK (version > 0),      -- of the stream: the last event that is folded in
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    state     bytea NOT NULL,
    PRIMARY KEY (stream_no, aggregate, form)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE snapshot ALTER COLUMN state SET COMPRESSION lz4;
