-- The first event in a range of seq whose time is not before $1. Leans on the primary key (seq, class) of each leaf:
-- the rows of the range are looked at in their order.
SELECT e.seq FROM sagabus.event e
WHERE e.seq > $2::bigint AND e.seq <= $3::bigint AND e.at >= $1::timestamptz
ORDER BY e.seq LIMIT 1
