-- Dead letters of their own are tried again one every $5 us, after the keys that are released at such a pace.
WITH fit AS (
    SELECT no, row_number() OVER (ORDER BY no) - 1 AS i FROM dead_letter
    WHERE ended IS NULL AND NOT held AND subscription = $1 AND ($2::bytea IS NULL OR key = $2)
      AND ($3::bigint IS NULL OR no = $3) AND ($4::text IS NULL OR fingerprint = $4)
), begin AS (
    SELECT greatest(clock_timestamp(), max(due_at)) AS at FROM quarantine
    WHERE subscription = $1 AND pace_us > 0 AND $5::bigint > 0
)
UPDATE dead_letter d SET due_at = begin.at + make_interval(secs => fit.i * $5::bigint / 1e6), pace_us = $5
FROM fit, begin WHERE d.no = fit.no
