-- Keys that nothing waits behind any more.
DELETE FROM quarantine q WHERE q.subscription = $1 AND ($2::bytea IS NULL OR q.key = $2)
  AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.subscription = q.subscription AND d.topic = q.topic
                  AND d.key = q.key AND d.held AND d.ended IS NULL)
