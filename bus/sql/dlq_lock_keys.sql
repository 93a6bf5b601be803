-- Before anything else of a discard: what a member adds behind a key while it waits for this lock is seen by the next
-- statement.
SELECT 1 FROM quarantine WHERE subscription = $1 AND ($2::bytea IS NULL OR key = $2) ORDER BY topic, key FOR UPDATE
