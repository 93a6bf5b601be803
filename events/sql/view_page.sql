-- Events of some types in ($1, $2], at most $4 of them and at most $5 bytes of bodies (one at least). Leans on the
-- primary key (class, seq). Types are looked up by name in the same snapshot, so that a version registered a moment
-- ago by another instance is seen, and waited for, not passed over.
SELECT seq, at, type_no, NULL::text, data, page_count, stream_no
FROM (
    SELECT seq, at, type_no, stream_no, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS bytes_before,
           count(*) OVER () AS page_count
    FROM (
        SELECT e.seq, e.at, e.type_no, e.stream_no, e.data
        FROM sagabus.event e
        WHERE e.class = 1 AND e.seq > $1::bigint AND e.seq <= $2::bigint
          AND e.type_no = ANY (ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY ($3::text[])))
        ORDER BY e.seq
        LIMIT $4::int
    ) page
) counted
WHERE bytes_before < $5::bigint
ORDER BY seq
