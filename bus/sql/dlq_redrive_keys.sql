-- Held keys with a dead letter that fits ($2 key, $3 number, $4 error; NULL: any) are released one every $5 ms.
WITH fit AS (
    SELECT topic, key, row_number() OVER (ORDER BY min(no)) - 1 AS i FROM dead_letter
    WHERE ended IS NULL AND held AND subscription = $1 AND ($2::bytea IS NULL OR key = $2)
      AND ($3::bigint IS NULL OR no = $3) AND ($4::text IS NULL OR fingerprint = $4)
    GROUP BY topic, key
)
UPDATE quarantine q SET due_at = clock_timestamp() + make_interval(secs => fit.i * $5::bigint / 1000.0)
FROM fit WHERE q.subscription = $1 AND q.topic = fit.topic AND q.key = fit.key
