-- As view_page, with the names of the streams, the events' places in them, and their ids.
SELECT seq, at, type_no, stream, data, page_count, stream_no, version, id
FROM (
    SELECT seq, at, type_no, stream_no, stream, version, id, data,
           sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS bytes_before,
           count(*) OVER () AS page_count
    FROM (
        SELECT e.seq, e.at, e.type_no, e.stream_no, s.category || '/' || s.key AS stream, e.version, e.id, e.data
        FROM sagabus.event e JOIN sagabus.stream s ON s.stream_no = e.stream_no
        WHERE e.class = 1 AND e.seq > $1::bigint AND e.seq <= $2::bigint
          AND e.type_no = ANY (ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY ($3::text[])))
        ORDER BY e.seq
        LIMIT $4::int
    ) page
) counted
WHERE bytes_before < $5::bigint
ORDER BY seq
