-- One saga's row. Leans on the primary key.
SELECT id, type, key, definition_hash, started_at, input, correlation, traceparent FROM sagabus.saga WHERE no = $1::bigint
