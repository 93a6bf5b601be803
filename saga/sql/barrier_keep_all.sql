-- Keeps the answers of a batch's commands that succeeded, which their rows say already, for repeats.
UPDATE barrier b SET reply = u.reply FROM unnest($1::uuid[], $2::bytea[]) AS u (command_id, reply)
WHERE b.command_id = u.command_id
