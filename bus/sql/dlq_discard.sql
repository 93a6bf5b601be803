UPDATE dead_letter SET ended = 'discarded', ended_at = clock_timestamp(), ended_reason = $5, held = false, due_at = NULL
WHERE ended IS NULL AND subscription = $1 AND ($2::bytea IS NULL OR key = $2)
  AND ($3::bigint IS NULL OR no = $3) AND ($4::text IS NULL OR fingerprint = $4)
