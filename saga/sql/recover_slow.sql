-- Open sagas of a shard that are named in its lease row, because they are older than its low-water mark.
SELECT no, id, key, definition_hash, correlation, traceparent, input, attention
FROM sagabus.saga
WHERE no = ANY ($1::bigint[]) AND ended_at IS NULL
ORDER BY no
