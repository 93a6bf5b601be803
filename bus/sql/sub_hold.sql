-- Holds the rows of a batch's partitions as long as its transaction lives; one whose epoch is not ours any more is
-- missing from the answer. KEY SHARE: lanes do not wait for each other, nor for a position that is saved.
SELECT w.i, p.incarnation, p.seq, p.next_offset
FROM unnest($2::text[], $3::int[], $4::bigint[]) WITH ORDINALITY AS w (topic, partition, epoch, i)
JOIN position p ON p.subscription = $1 AND p.topic = w.topic AND p.partition = w.partition AND p.epoch = w.epoch
ORDER BY p.topic, p.partition FOR KEY SHARE OF p
