-- A page of open sagas, newest first ($15: oldest first), behind the cursor ($4, $5). They are few among all that ever were,
-- and no index says which: those at or above the low-water mark of their shard's lease row, and the slow ones that it
-- names. Leans on the primary key.
SELECT no, id, type, key, status, paused, attention, started_at, ended_at, step, participant, error, fingerprint
FROM (
    SELECT s.* FROM sagabus.lease l
    CROSS JOIN LATERAL (SELECT substr(l.role, 6)::bigint << 48 AS base) b
    JOIN sagabus.saga s ON s.no >= b.base + l.low AND s.no < b.base + (1::bigint << 48)
    WHERE l.role ~ '^saga:[0-9]+$' AND s.ended_at IS NULL
    UNION ALL
    SELECT s.* FROM sagabus.lease l
    CROSS JOIN LATERAL (SELECT substr(l.role, 6)::bigint << 48 AS base) b
    CROSS JOIN LATERAL jsonb_array_elements(l.detail -> 'slow') AS slow (counter)
    JOIN sagabus.saga s ON s.no = b.base + slow.counter::bigint
    WHERE l.role ~ '^saga:[0-9]+$' AND slow.counter::bigint < l.low AND s.ended_at IS NULL) open
WHERE ($1::text IS NULL OR type = $1) AND ($2::smallint = 0 OR status = $2) AND (NOT $3::boolean OR attention)
    AND ($7::text IS NULL OR key = $7) AND ($8::text IS NULL OR step = $8)
    AND ($9::text IS NULL OR participant = $9 AND step IS NOT NULL) AND ($10::bigint = 0 OR fingerprint = $10)
    AND ($11::text IS NULL OR strpos(lower(error), lower($11)) > 0) AND (NOT $12::boolean OR paused)
    AND started_at >= coalesce($13::timestamptz, '-infinity') AND started_at < coalesce($14::timestamptz, 'infinity')
    AND ($4::timestamptz IS NULL OR CASE WHEN $15::boolean THEN (started_at, no) > ($4, $5::bigint)
        ELSE (started_at, no) < ($4, $5) END)
ORDER BY CASE WHEN $15 THEN started_at END, CASE WHEN $15 THEN no END, started_at DESC, no DESC
LIMIT $6::bigint
