-- Open sagas of a shard from its low-water mark on, a page at a time. Leans on the primary key; sagas that ended above
-- the mark are passed over.
SELECT no, id, key, definition_hash, correlation, traceparent, input, attention
FROM sagabus.saga
WHERE no >= $1::bigint AND no < $2::bigint AND ended_at IS NULL
ORDER BY no
LIMIT 1000
