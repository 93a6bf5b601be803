-- Shards that could be taken over: nobody holds the session lock of their lease, or its beat is overdue. The lock is
-- the one of base/sql/lease_try_lock.sql; pg_locks shows its 64-bit key as two halves. taken_before: there may be
-- sagas in it.
SELECT s.shard::int, coalesce(l.epoch > 0, false)
FROM generate_series(0, $1::int - 1) AS s (shard)
CROSS JOIN LATERAL hashtextextended('saga:' || s.shard, 1935763458) AS key
LEFT JOIN sagabus.lease l ON l.role = 'saga:' || s.shard
WHERE coalesce(l.beat < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0), true)
   OR NOT EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
            AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND k.classid::bigint = (key >> 32 & 4294967295) AND k.objid::bigint = (key & 4294967295))
ORDER BY s.shard
