-- What the position covers needs no row any more.
DELETE FROM inbox i USING unnest($2::text[], $3::int[], $4::bigint[]) AS w (topic, partition, seq)
WHERE i.subscription = $1 AND i.topic = w.topic AND i.partition = w.partition AND i.seq > 0 AND i.seq <= w.seq
