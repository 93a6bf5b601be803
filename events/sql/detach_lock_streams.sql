-- The streams numbered $1 to $2 that begin at or below $3, held against appenders until the next statement has seen
-- all that they wrote. In the order in which event_append_many locks them, so that the two never wait for each other in
-- a ring.
SELECT stream_no FROM sagabus.stream
WHERE stream_no BETWEEN $1::bigint AND $2::bigint AND first_seq BETWEEN 1 AND $3::bigint ORDER BY category, key FOR UPDATE
