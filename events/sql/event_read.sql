-- A page of the whole store. Leans on the primary key (seq, class) of each leaf; never above the safe sequence
-- number, which the caller has read before. $4: only the types of $5.
SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data, s.key
FROM sagabus.event e
LEFT JOIN sagabus.stream s ON e.class = 1 AND s.stream_no = e.stream_no
WHERE e.seq > $1::bigint AND e.seq <= $2::bigint AND (NOT $4::bool OR e.type_no = ANY ($5::int[]))
    AND (e.class = 1 OR NOT $6::bool)
ORDER BY e.seq LIMIT $3::int
