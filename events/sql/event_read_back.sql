-- A page of the whole store downwards: seq above $1, up to $2; otherwise as event_read.sql.
SELECT seq, stream_no, at, version, type_no, class, id, meta, data,
    CASE class WHEN 1 THEN key ELSE coalesce((SELECT g.id::text FROM sagabus.saga g WHERE g.no = stream_no), stream_no::text) END,
    page_count
FROM (
    SELECT p.*, count(*) OVER () AS page_count,
           sum(octet_length(p.data)) OVER (ORDER BY p.seq DESC) - octet_length(p.data) AS bytes_before
    FROM (
        SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data, s.key
        FROM sagabus.event e
        LEFT JOIN sagabus.stream s ON e.class = 1 AND s.stream_no = e.stream_no
        WHERE e.seq > $1::bigint AND e.seq <= $2::bigint AND (NOT $4::bool OR e.type_no = ANY ($5::int[]))
            AND (e.class = 1 OR NOT $6::bool)
        ORDER BY e.seq DESC LIMIT $3::int
    ) p
) counted
WHERE bytes_before < 8388608
ORDER BY seq DESC
