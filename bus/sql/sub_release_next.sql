-- A key that is to be released and that nobody is at; $2: only one without a pace.
SELECT topic, key, pace_us FROM quarantine WHERE subscription = $1 AND due_at <= clock_timestamp()
    AND (pace_us = 0 OR NOT $2::boolean)
ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
