-- The answer of a command whose row was entered before its handler. Primary key of barrier.
UPDATE barrier SET outcome = $2::text, reply = $3::bytea, error = $4::text WHERE command_id = $1::uuid
