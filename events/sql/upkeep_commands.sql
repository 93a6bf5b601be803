-- Forgets append commands after their time ($2 milliseconds), a small batch at a time, and with them the lanes of
-- appenders that died. Leans on the index of at; lanes are a handful.
WITH lanes AS (
    DELETE FROM sagabus.append_lane WHERE at < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0))
DELETE FROM sagabus.append_command WHERE command_id IN (
    SELECT command_id FROM sagabus.append_command
    WHERE at < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0) ORDER BY at LIMIT $1::int)
