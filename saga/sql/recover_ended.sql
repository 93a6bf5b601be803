-- A saga that is completed, to be undone by the one it is a step of. Primary key of saga.
SELECT no, id, key, definition_hash, correlation, traceparent, input
FROM sagabus.saga
WHERE no = $1::bigint AND status = 2
