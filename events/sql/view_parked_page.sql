-- What is parked in a generation, in the order it was; $3 is the place to go on after. Keys of the carry ($5; NULL: there
-- is none) are numbers of streams: people are told their names.
SELECT p.parked_no, p.table_name,
    CASE WHEN p.table_name = $5::text
        THEN coalesce((SELECT s.category || '/' || s.key FROM sagabus.stream s WHERE s.stream_no = p.key::bigint), p.key)
        ELSE p.key END,
    p.first_seq, p.event_type, p.error, p.at
FROM sagabus.view_parked p
WHERE p.view = $1::text AND p.generation = $2::bigint AND p.parked_no > $3::bigint
ORDER BY p.parked_no
LIMIT $4::int
