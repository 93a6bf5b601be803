-- Dead letters of their own are tried again one every $5 ms.
WITH fit AS (
    SELECT no, row_number() OVER (ORDER BY no) - 1 AS i FROM dead_letter
    WHERE ended IS NULL AND NOT held AND subscription = $1 AND ($2::bytea IS NULL OR key = $2)
      AND ($3::bigint IS NULL OR no = $3) AND ($4::text IS NULL OR fingerprint = $4)
)
UPDATE dead_letter d SET due_at = clock_timestamp() + make_interval(secs => fit.i * $5::bigint / 1000.0)
FROM fit WHERE d.no = fit.no
