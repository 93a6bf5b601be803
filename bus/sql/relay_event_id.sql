-- The event at $1 of class $2: its id (NULL: it is not there), whether the store has come up to it, and whether it was there
-- and its range has been detached. Come up: safe_seq has, or had before a crash took it back, and then no event is missing
-- between the two (docs/adr/0008). A range is noted before it goes, and events go in no other way, not even erased ones: one
-- that Kafka has and that is neither there nor noted was never this store's. One snapshot, taken after Kafka was asked. Leans on
-- the leaves' primary keys and on that of the few notes.
SELECT (SELECT e.id FROM sagabus.event e WHERE e.class = $2::smallint AND e.seq = $1::bigint),
    l.cursor >= $1::bigint OR
        (SELECT count(*) FROM sagabus.event e WHERE e.seq > l.cursor AND e.seq <= $1::bigint) = $1::bigint - l.cursor,
    EXISTS (SELECT FROM sagabus.event_detached d WHERE d.class = $2::smallint AND $1::bigint BETWEEN d.from_seq AND d.to_seq)
FROM sagabus.lease l WHERE l.role = 'sequencer'
