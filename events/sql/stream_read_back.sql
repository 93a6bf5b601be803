-- A page of one stream, downwards; otherwise as stream_read.sql.
SELECT seq, stream_no, at, version, type_no, class, id, meta, data, $7::text, page_count
FROM (
    SELECT p.*, count(*) OVER () AS page_count,
           sum(octet_length(p.data)) OVER (ORDER BY p.version DESC) - octet_length(p.data) AS bytes_before
    FROM (
        SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data
        FROM sagabus.event e
        WHERE e.class = $8::smallint AND e.seq BETWEEN $1::bigint AND $2::bigint AND e.stream_no = $3::bigint
            AND e.version BETWEEN $4::int AND $5::int
        ORDER BY e.version DESC LIMIT $6::int
    ) p
) counted
WHERE bytes_before < 8388608
ORDER BY version DESC
