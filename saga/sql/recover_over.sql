-- Sagas that are over, for replies that come after their end: without their inputs, which a decision about them does
-- not read. Primary key of saga.
SELECT no, id, key, definition_hash, correlation, traceparent, '{}'::bytea
FROM sagabus.saga
WHERE no = ANY ($1::bigint[]) AND ended_at IS NOT NULL
ORDER BY no
