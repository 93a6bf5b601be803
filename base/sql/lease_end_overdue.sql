-- Ends the backend of an owner whose beat is overdue; its session lock goes with it. One statement, so that an
-- owner that beats in between is judged by the row it has now.
SELECT count(pg_terminate_backend(k.pid))
FROM sagabus.lease l
JOIN pg_locks k ON k.locktype = 'advisory' AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND k.classid = 1935763458 AND k.objid::bigint = (hashtext($1::text)::bigint & 4294967295) AND k.granted
WHERE l.role = $1::text AND l.beat < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0)
