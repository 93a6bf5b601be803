UPDATE dead_letter SET attempts = attempts + 1, error = $2, fingerprint = $3, due_at = $4 WHERE no = $1
