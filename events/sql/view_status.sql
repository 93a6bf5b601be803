-- How a view stands. An owner counts while its session holds the role's advisory lock (see lease_try_lock).
WITH safe AS (SELECT cursor AS seq FROM sagabus.lease WHERE role = 'sequencer'),
held AS (
    SELECT k.objid::bigint AS objid FROM pg_locks k
    WHERE k.locktype = 'advisory' AND k.classid = 1935763458 AND k.granted
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT g.generation, g.version, l.cursor, greatest(safe.seq - l.cursor, 0),
       (SELECT e.at FROM sagabus.event e WHERE e.class = 1 AND e.seq > l.cursor AND e.seq <= safe.seq
        ORDER BY e.seq LIMIT 1),
       (SELECT count(*) FROM sagabus.view_parked p WHERE p.view = g.view AND p.generation = g.generation),
       l.owner, coalesce(l.detail ->> 'state', 'live'), coalesce(l.detail ->> 'problem', ''),
       EXISTS (SELECT FROM held WHERE objid = hashtext('view:' || $1::text)::bigint & 4294967295),
       EXISTS (SELECT FROM held WHERE objid = hashtext('replay:' || $1::text)::bigint & 4294967295)
FROM safe LEFT JOIN sagabus.view_generation g ON g.view = $1::text AND g.live
LEFT JOIN sagabus.lease l ON l.role = 'view:' || $1::text
