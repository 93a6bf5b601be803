-- A page of sagas, oldest first, behind the cursor ($4, $5). Leans on saga_started, read backwards.
SELECT no, id, type, key, status, paused, attention, started_at, ended_at, step, participant, error
FROM sagabus.saga
WHERE ($1::text IS NULL OR type = $1) AND ($2::smallint = 0 OR status = $2) AND (NOT $3::boolean OR attention)
    AND (started_at, no) > (coalesce($4::timestamptz, '-infinity'), coalesce($5::bigint, 0))
ORDER BY started_at, no
LIMIT $6::bigint
