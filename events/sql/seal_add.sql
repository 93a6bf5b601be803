INSERT INTO sagabus.event_seal (from_seq, to_seq, leaves, root, prev, hash, marks)
VALUES ($1::bigint, $2::bigint, $3::int, $4::bytea, $5::bytea, $6::bytea, $7::bytea)
