-- Verbs that wait for this shard's owner, oldest first. Leans on saga_command_open.
SELECT command_no, saga_no, verb, body::text, requested_by, reason
FROM sagabus.saga_command
WHERE shard = $1::smallint AND done_at IS NULL
ORDER BY command_no
LIMIT $2::bigint
