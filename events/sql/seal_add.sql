-- newest_at: of the seals before, which leans on the primary key, and of the range ($8).
INSERT INTO sagabus.event_seal (from_seq, to_seq, newest_at, leaves, root, prev, hash, marks)
SELECT $1::bigint, $2::bigint,
       greatest((SELECT s.newest_at FROM sagabus.event_seal s WHERE s.to_seq < $1::bigint ORDER BY s.to_seq DESC LIMIT 1),
                $8::timestamptz),
       $3::int, $4::bytea, $5::bytea, $6::bytea, $7::bytea
