-- The last seal that ends before $1; leans on the primary key.
SELECT to_seq, hash FROM sagabus.event_seal WHERE to_seq < $1::bigint ORDER BY to_seq DESC LIMIT 1
