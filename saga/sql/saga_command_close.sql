-- Verbs that were done, in the transaction of their events.
UPDATE sagabus.saga_command c
SET done_at = clock_timestamp(), outcome = u.outcome
FROM unnest($1::bigint[], $2::text[]) AS u (command_no, outcome)
WHERE c.command_no = u.command_no
