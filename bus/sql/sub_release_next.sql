-- A key that is to be released and that nobody is at.
SELECT topic, key, pace_us FROM quarantine WHERE subscription = $1 AND due_at <= clock_timestamp()
ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
