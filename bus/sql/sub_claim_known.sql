-- What was handled above the position, and whether keys are held back.
SELECT coalesce(h.incarnation, 0), coalesce(h.seq, 0), EXISTS (SELECT FROM quarantine q WHERE q.subscription = $1)
FROM (SELECT) one LEFT JOIN LATERAL (
    SELECT i.incarnation, i.seq FROM inbox i
    WHERE i.subscription = $1 AND i.topic = $2 AND i.partition = $3 AND i.seq > 0
    ORDER BY i.incarnation DESC, i.seq DESC LIMIT 1) h ON true
