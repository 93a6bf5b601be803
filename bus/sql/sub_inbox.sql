-- Writes down what is handled in this transaction and answers which of it is new: $8 is the number in the batch.
WITH fresh AS (
    INSERT INTO inbox (subscription, source, id, topic, partition, incarnation, seq)
    SELECT $1, w.source, w.id, w.topic, w.partition, w.incarnation, w.seq
    FROM unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::bigint[],
                $7::bigint[]) AS w (source, id, topic, partition, incarnation, seq)
    ON CONFLICT DO NOTHING RETURNING source, id
)
SELECT min(w.i) FROM unnest($2::text[], $3::text[], $8::int[]) AS w (source, id, i)
JOIN fresh USING (source, id) GROUP BY source, id
