-- An operator's act, for whichever instance owns the saga: written here by any, taken by the owner, who is told at once.
-- Nothing when the saga is not there. Primary key of saga.
WITH added AS (
    INSERT INTO sagabus.saga_command (saga_no, shard, verb, body, requested_by, reason)
    SELECT no, shard, $3::text, $4::jsonb, $5::text, $6::text FROM sagabus.saga WHERE no = $1::bigint AND id = $2::uuid
    RETURNING command_no, shard)
SELECT command_no, pg_notify('sagabus_saga_command', shard::text)::text FROM added
