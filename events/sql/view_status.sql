-- How a view stands. An owner counts while its session holds the role's advisory lock (see lease_try_lock).
WITH safe AS (SELECT cursor AS seq FROM sagabus.lease WHERE role = 'sequencer'),
held AS (
    SELECT r.name FROM unnest(ARRAY['view', 'replay']) AS r (name)
    CROSS JOIN hashtextextended(r.name || ':' || $1::text, 1935763458) AS key
    JOIN pg_locks k ON k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
        AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND k.classid::bigint = (key >> 32 & 4294967295) AND k.objid::bigint = (key & 4294967295)
)
SELECT g.generation, g.version, l.cursor, greatest(safe.seq - l.cursor, 0),
       (SELECT e.at FROM sagabus.event e WHERE e.class = 1 AND e.seq > l.cursor AND e.seq <= safe.seq
        ORDER BY e.seq LIMIT 1),
       (SELECT count(*) FROM sagabus.view_parked p WHERE p.view = g.view AND p.generation = g.generation),
       l.owner, coalesce(l.detail ->> 'state', 'live'), coalesce(l.detail ->> 'problem', ''),
       EXISTS (SELECT FROM held WHERE name = 'view'), EXISTS (SELECT FROM held WHERE name = 'replay'),
       g.fingerprint
FROM safe LEFT JOIN sagabus.view_generation g ON g.view = $1::text AND g.live
LEFT JOIN sagabus.lease l ON l.role = 'view:' || $1::text
