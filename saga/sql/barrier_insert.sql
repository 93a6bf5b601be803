-- First statement of a command's effect. Zero rows: the command was here before. At READ COMMITTED it waits for a
-- transaction that holds the same id, so a repeat in flight cannot slip by. Primary key of barrier; search_path.
INSERT INTO barrier (command_id, saga_id, step, direction, outcome)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::text)
ON CONFLICT (command_id) DO NOTHING
