-- As view_page, with the keys of the streams.
SELECT seq, at, type_no, key, data, page_count, stream_no
FROM (
    SELECT seq, at, type_no, stream_no, key, data,
           sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS bytes_before,
           count(*) OVER () AS page_count
    FROM (
        SELECT e.seq, e.at, e.type_no, e.stream_no, s.key, e.data
        FROM sagabus.event e JOIN sagabus.stream s ON s.stream_no = e.stream_no
        WHERE e.class = 1 AND e.seq > $1::bigint AND e.seq <= $2::bigint
          AND e.type_no = ANY (ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY ($3::text[])))
        ORDER BY e.seq
        LIMIT $4::int
    ) page
) counted
WHERE bytes_before < $5::bigint
ORDER BY seq
