-- The id of the event at $1: is it the one that Kafka has? Leans on the leaves' primary keys.
SELECT id FROM sagabus.event WHERE class = 1 AND seq = $1::bigint
UNION ALL
SELECT id FROM sagabus.event WHERE class = 2 AND seq = $1::bigint
