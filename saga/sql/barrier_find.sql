-- What a command ended with. A statement of its own: its snapshot sees what the insert waited for.
SELECT outcome, reply, error FROM barrier WHERE command_id = $1::uuid
