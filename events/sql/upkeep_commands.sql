-- Forgets append commands after their 7 days, a small batch at a time. Leans on the index of at.
DELETE FROM sagabus.append_command WHERE command_id IN (
    SELECT command_id FROM sagabus.append_command WHERE at < clock_timestamp() - interval '7 days' ORDER BY at LIMIT $1::int)
