-- The handler could not say: as if the command had never come.
DELETE FROM barrier WHERE command_id = $1::uuid
