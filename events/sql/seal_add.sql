-- newest_at leans on the primary keys: the seal before, and the events of the range, which were read a moment ago.
INSERT INTO sagabus.event_seal (from_seq, to_seq, newest_at, leaves, root, prev, hash, marks)
SELECT $1::bigint, $2::bigint,
       greatest((SELECT s.newest_at FROM sagabus.event_seal s WHERE s.to_seq < $1::bigint ORDER BY s.to_seq DESC LIMIT 1),
                (SELECT max(e.at) FROM sagabus.event e WHERE e.seq >= $1::bigint AND e.seq <= $2::bigint)),
       $3::int, $4::bytea, $5::bytea, $6::bytea, $7::bytea
