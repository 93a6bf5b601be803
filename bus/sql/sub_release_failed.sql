-- The key stays held, and waits for an operator again.
UPDATE quarantine SET due_at = NULL WHERE subscription = $1 AND topic = $2 AND key = $3
