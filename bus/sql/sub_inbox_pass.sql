-- What the position covers needs no row any more. Only whoever has the partition may say so: to the member that took it
-- over since, the rows are all that tells of what was handled above the position.
DELETE FROM inbox i
USING unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
     AS w (topic, partition, incarnation, seq, epoch)
JOIN position p ON p.subscription = $1 AND p.topic = w.topic AND p.partition = w.partition AND p.epoch = w.epoch
WHERE i.subscription = $1 AND i.topic = w.topic AND i.partition = w.partition AND i.seq > 0
  AND (i.incarnation, i.seq) <= (w.incarnation, w.seq)
