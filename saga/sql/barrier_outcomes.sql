-- What the forward commands of a batch's undos ended with. A statement of its own: its snapshot sees what the insert waited for.
-- A look by the primary key for each, whatever the table's size was when it was planned: = ANY and joins became scans.
SELECT u.command_id, (SELECT b.outcome FROM barrier b WHERE b.command_id = u.command_id)
FROM unnest($1::uuid[]) AS u (command_id)
