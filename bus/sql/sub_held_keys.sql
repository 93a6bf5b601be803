-- Which of a batch's keys are held back. The lock waits for a release of the key that is going on, and afterwards
-- finds no row.
SELECT q.topic, q.key FROM quarantine q
WHERE q.subscription = $1
  AND (q.topic, q.key) IN (SELECT w.topic, w.key FROM unnest($2::text[], $3::bytea[]) AS w (topic, key))
ORDER BY q.topic, q.key FOR UPDATE
