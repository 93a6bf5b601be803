-- Takes the partition over: whoever comes later with the old epoch finds no row. An offset of other brokers is no hint;
-- with nothing but an offset it begins at the beginning, never as one without a position does, which may be at the end.
WITH before AS (
    SELECT cluster_id FROM position WHERE subscription = $1 AND topic = $2 AND partition = $3
)
UPDATE position p SET epoch = p.epoch + 1, owner = $4, cluster_id = $5, at = clock_timestamp(),
       next_offset = CASE WHEN p.cluster_id IN ('', $5) THEN p.next_offset
                          WHEN p.incarnation = 0 AND p.next_offset >= 0 THEN 0 ELSE -1 END
FROM before
WHERE p.subscription = $1 AND p.topic = $2 AND p.partition = $3
RETURNING p.epoch, p.incarnation, p.seq, p.next_offset, before.cluster_id <> '' AND before.cluster_id <> $5
