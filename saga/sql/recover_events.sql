-- All events of the given sagas, saga after saga in the order given, each in order of version. Leans on
-- (stream_no, version) of each partition.
SELECT e.stream_no, e.version, e.type_no, e.at, e.data
FROM unnest($1::bigint[]) AS u (no)
CROSS JOIN LATERAL (
    SELECT v.stream_no, v.version, v.type_no, v.at, v.data
    FROM sagabus.event v
    WHERE v.class = 2 AND v.stream_no = u.no
    ORDER BY v.version) e
