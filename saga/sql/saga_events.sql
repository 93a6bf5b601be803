-- The story of one saga. Leans on (stream_no, version) of each partition.
SELECT version, type_no, at, data FROM sagabus.event WHERE class = 2 AND stream_no = $1::bigint ORDER BY version
