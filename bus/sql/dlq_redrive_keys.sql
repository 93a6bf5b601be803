-- Held keys with a dead letter that fits ($2 key, $3 number, $4 error; NULL: any) are released one after the other, $5 us
-- for each dead letter of theirs.
WITH fit AS (
    SELECT topic, key, min(no) AS first_no FROM dead_letter
    WHERE ended IS NULL AND held AND subscription = $1 AND ($2::bytea IS NULL OR key = $2)
      AND ($3::bigint IS NULL OR no = $3) AND ($4::text IS NULL OR fingerprint = $4)
    GROUP BY topic, key
), ahead AS (
    SELECT fit.topic, fit.key, sum(own.letters) OVER (ORDER BY first_no) - own.letters AS letters
    FROM fit CROSS JOIN LATERAL (
        SELECT count(*) AS letters FROM dead_letter d
        WHERE d.subscription = $1 AND d.topic = fit.topic AND d.key = fit.key AND d.held AND d.ended IS NULL) own
)
UPDATE quarantine q SET due_at = clock_timestamp() + make_interval(secs => ahead.letters * $5::bigint / 1e6), pace_us = $5
FROM ahead WHERE q.subscription = $1 AND q.topic = ahead.topic AND q.key = ahead.key
