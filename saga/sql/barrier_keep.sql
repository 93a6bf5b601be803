-- Keeps the answer, for repeats.
UPDATE barrier SET outcome = $2::text, reply = $3::bytea, error = $4::text WHERE command_id = $1::uuid
