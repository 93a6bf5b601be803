-- Keeps the answers of a batch, for repeats: not those of commands that succeeded without a result, which their rows say already.
-- The rows are there, each conflicts: unlike a join, this has but one plan, by the primary key, also when it was made while the
-- table was empty. The constants are for the constraints only.
INSERT INTO barrier (command_id, saga_id, step, direction, outcome, reply, error)
SELECT u.command_id, u.command_id, '', 'forward', u.outcome, u.reply, u.error
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[]) AS u (command_id, outcome, reply, error)
ON CONFLICT (command_id) DO UPDATE SET outcome = excluded.outcome, reply = excluded.reply, error = excluded.error
