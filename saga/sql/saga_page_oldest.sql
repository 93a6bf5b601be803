-- A page of sagas, oldest first, behind the cursor ($4, $5). As saga_page_newest, its indexes read backwards.
SELECT no, id, type, key, status, paused, attention, started_at, ended_at, step, participant, error, fingerprint
FROM sagabus.saga
WHERE ($1::text IS NULL OR type = $1) AND ($2::smallint = 0 OR status = $2) AND (NOT $3::boolean OR attention)
    AND ($7::text IS NULL OR key = $7) AND ($8::text IS NULL OR step = $8)
    AND ($9::text IS NULL OR participant = $9 AND step IS NOT NULL) AND ($10::bigint = 0 OR fingerprint = $10)
    AND ($11::text IS NULL OR strpos(lower(error), lower($11)) > 0) AND (NOT $12::boolean OR paused)
    AND started_at >= coalesce($13::timestamptz, '-infinity') AND started_at < coalesce($14::timestamptz, 'infinity')
    AND (started_at, no) > (coalesce($4::timestamptz, '-infinity'), coalesce($5::bigint, 0))
ORDER BY started_at, no
LIMIT $6::bigint
