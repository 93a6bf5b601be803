-- Moves positions; the rows are held by sub_hold in the same transaction, or the epoch guards it. Never back: a commit
-- whose answer was lost may have moved one further than its member knows.
UPDATE position p SET incarnation = w.incarnation, seq = w.seq, next_offset = w.next_offset, at = clock_timestamp()
FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
     AS w (topic, partition, epoch, incarnation, seq, next_offset)
WHERE p.subscription = $1 AND p.topic = w.topic AND p.partition = w.partition AND p.epoch = w.epoch
  AND (w.incarnation, w.seq, w.next_offset) > (p.incarnation, p.seq, p.next_offset)
