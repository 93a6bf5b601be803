-- What is to be sent of the events after $1 up to $2, in order: all domain events, and saga events whose type
-- is public ($3). Cut where the bodies before a row reach $4 bytes. Leans on the leaves' primary keys and on that of
-- stream, row by row: a join's plan would flip with the statistics. A saga's key is not looked up here (relay_sagas.h).
-- READ COMMITTED; never asked beyond the safe sequence number, so the answer for a range is always the same.
SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data,
    CASE WHEN e.class = 1 THEN (SELECT s.key FROM sagabus.stream s WHERE s.stream_no = e.stream_no) END
FROM (
    SELECT p.*, sum(octet_length(p.data)) OVER (ORDER BY p.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
    FROM (
        SELECT * FROM sagabus.event WHERE class = 1 AND seq > $1::bigint AND seq <= $2::bigint
        UNION ALL
        SELECT * FROM sagabus.event WHERE class = 2 AND seq > $1::bigint AND seq <= $2::bigint
            AND type_no IN (SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY ($3::text[]))
    ) p
) e
WHERE coalesce(e.bytes_before, 0) < $4::bigint
ORDER BY e.seq
