-- A page of seals: those that end after $1 and begin at or before $2, in order. Leans on the primary key.
SELECT from_seq, to_seq, leaves, root, prev, hash, marks FROM sagabus.event_seal
WHERE to_seq > $1::bigint AND from_seq <= $2::bigint ORDER BY to_seq LIMIT 16
