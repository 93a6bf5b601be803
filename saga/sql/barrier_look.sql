-- What a batch's commands, and the forward commands of its undos, came to: by place in $1, only those that were here. One look by
-- the primary key for each. Not unnest: its estimate is the array's length, so that short batches would be planned anew each time;
-- and not = ANY or a join, which are scans when they are planned while the table is empty. READ COMMITTED.
SELECT g.place, b.outcome, b.reply, b.error
FROM generate_subscripts($1::uuid[], 1) AS g (place)
CROSS JOIN LATERAL (SELECT outcome, reply, error FROM barrier WHERE command_id = ($1::uuid[])[g.place] LIMIT 1) AS b
