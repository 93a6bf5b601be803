-- Shards that could be taken over: nobody holds the session lock of their lease, or its beat is overdue. The lock is
-- the one of base/sql/lease_try_lock.sql. taken_before: there may be sagas in it.
SELECT s.shard::int, coalesce(l.epoch > 0, false)
FROM generate_series(0, $1::int - 1) AS s (shard)
LEFT JOIN sagabus.lease l ON l.role = 'saga:' || s.shard
WHERE coalesce(l.beat < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0), true)
   OR NOT EXISTS (
        SELECT FROM pg_locks k
        WHERE k.locktype = 'advisory' AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND k.classid = 1935763458 AND k.objid::bigint = (hashtext('saga:' || s.shard)::bigint & 4294967295)
            AND k.granted)
ORDER BY s.shard
