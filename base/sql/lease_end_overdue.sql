-- Ends the backend of an owner whose beat is overdue; its session lock goes with it. One statement, so that an
-- owner that beats in between is judged by the row it has now. pg_locks shows a 64-bit key as two halves.
SELECT count(pg_terminate_backend(k.pid))
FROM sagabus.lease l
CROSS JOIN hashtextextended($1::text, 1935763458) AS key
JOIN pg_locks k ON k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
    AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND k.classid::bigint = (key >> 32 & 4294967295) AND k.objid::bigint = (key & 4294967295)
WHERE l.role = $1::text AND l.beat < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0)
