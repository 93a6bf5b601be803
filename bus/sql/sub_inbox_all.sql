-- Writes down what is handled in this transaction. Fewer rows than asked for: some of it was handled before, and
-- sub_inbox says which; nearly always all of it is new.
INSERT INTO inbox (subscription, source, id, topic, partition, incarnation, seq)
SELECT $1, w.source, w.id, w.topic, w.partition, w.incarnation, w.seq
FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[],
            $7::bigint[]) AS w (source, id, topic, partition, incarnation, seq)
ON CONFLICT DO NOTHING
