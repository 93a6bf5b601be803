-- The event at $1: its id (NULL: it is not there, or no longer), and whether the store has come up to it: safe_seq has, or was
-- there before a crash took it back, and then no event is missing between the two (docs/adr/0008). One snapshot, taken after
-- Kafka was asked. Leans on the leaves' primary keys.
SELECT coalesce((SELECT id FROM sagabus.event WHERE class = 1 AND seq = $1::bigint),
                (SELECT id FROM sagabus.event WHERE class = 2 AND seq = $1::bigint)),
    l.cursor >= $1::bigint OR
        (SELECT count(*) FROM sagabus.event e WHERE e.seq > l.cursor AND e.seq <= $1::bigint) = $1::bigint - l.cursor
FROM sagabus.lease l WHERE l.role = 'sequencer'
