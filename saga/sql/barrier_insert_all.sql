-- The rows of a batch, ahead of its handlers: those that come back are new, the others were here before. Given in order of
-- command_id, so that two transactions with the same commands wait for one another and do not lock each other out.
INSERT INTO barrier (command_id, saga_id, step, direction, outcome)
SELECT u.command_id, u.saga_id, u.step, u.direction, u.outcome
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) AS u (command_id, saga_id, step, direction, outcome)
ON CONFLICT (command_id) DO NOTHING
RETURNING command_id
