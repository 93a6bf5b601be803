-- Ends the backend of an owner whose beat is overdue; its session lock goes with it. One statement, so that an
-- owner that beats in between is judged by the row it has now. Overdue is a beat that the database's clock says is old, or
-- one that the asker has seen unchanged for as long by a clock of its own (epoch $3, beat $4): the database's may have gone
-- back. Tells the beat for that. pg_locks shows a 64-bit key as two halves.
WITH told AS (
    SELECT l.epoch, (extract(epoch FROM l.beat) * 1000000)::bigint AS beat_us,
        l.beat < clock_timestamp() - make_interval(secs => $2::bigint / 1000.0) AS is_old
    FROM sagabus.lease l
    WHERE l.role = $1::text)
SELECT t.epoch, t.beat_us, (
    SELECT count(pg_terminate_backend(k.pid))
    FROM hashtextextended($1::text, 1935763458) AS key
    JOIN pg_locks k ON k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
        AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND k.classid::bigint = (key >> 32 & 4294967295) AND k.objid::bigint = (key & 4294967295)
    WHERE t.is_old OR (t.epoch = $3::bigint AND t.beat_us = $4::bigint))
FROM told t
