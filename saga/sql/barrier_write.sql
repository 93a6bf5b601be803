-- The rows of a batch with their answers, after its handlers and with the commit. No ON CONFLICT: a row that somebody else wrote
-- since barrier_look must fail the whole transaction, and one that is about to be written is waited for. Given in order of
-- command_id, so that two batches with the same commands wait for one another and do not lock each other out.
INSERT INTO barrier (command_id, saga_id, step, direction, outcome, reply, error)
SELECT u.command_id, u.saga_id, u.step, u.direction, u.outcome, u.reply, u.error
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[])
    AS u (command_id, saga_id, step, direction, outcome, reply, error)
