-- A page of one stream, downwards; otherwise as stream_read.sql.
SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data, $7::text
FROM sagabus.event e
WHERE e.class = $8::smallint AND e.seq BETWEEN $1::bigint AND $2::bigint AND e.stream_no = $3::bigint
    AND e.version BETWEEN $4::int AND $5::int
ORDER BY e.version DESC LIMIT $6::int
