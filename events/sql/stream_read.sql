-- A page of one stream, upwards, at most $6 events and 8 MiB of bodies (one event at least), with the count of those
-- that the bytes did not limit. The class and the range of seq prune the partitions it does not live in; in each of
-- the others the index of (stream_no, version) gives the order. octet_length fetches no body.
SELECT seq, stream_no, at, version, type_no, class, id, meta, data, $7::text, page_count
FROM (
    SELECT p.*, count(*) OVER () AS page_count,
           sum(octet_length(p.data)) OVER (ORDER BY p.version) - octet_length(p.data) AS bytes_before
    FROM (
        SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data
        FROM sagabus.event e
        WHERE e.class = $8::smallint AND e.seq BETWEEN $1::bigint AND $2::bigint AND e.stream_no = $3::bigint
            AND e.version BETWEEN $4::int AND $5::int
        ORDER BY e.version LIMIT $6::int
    ) p
) counted
WHERE bytes_before < 8388608
ORDER BY version
