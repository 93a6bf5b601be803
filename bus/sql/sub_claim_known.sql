-- What was handled above the position, and whether keys are held back.
SELECT (SELECT coalesce(max(i.seq), 0) FROM inbox i
        WHERE i.subscription = $1 AND i.topic = $2 AND i.partition = $3 AND i.seq > 0),
       EXISTS (SELECT FROM quarantine q WHERE q.subscription = $1)
