-- What is due and in nobody's hands, and whether it may go now: what has a pace pays so much for each of its dead letters
-- from the budget of all members; the time begins when it is paid, which may have waited for another. Columns: may go; else us until the budget is free again. Leans on quarantine_due,
-- dead_letter_due, dead_letter_held. The locks are for looking past what another member has in hand.
WITH held AS (
    SELECT topic, key, pace_us FROM quarantine WHERE subscription = $1 AND due_at <= clock_timestamp()
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
), own AS (
    SELECT pace_us FROM dead_letter
    WHERE subscription = $1 AND ended IS NULL AND due_at <= clock_timestamp() AND NOT EXISTS (SELECT FROM held)
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
), due AS (
    SELECT pace_us, pace_us * (SELECT greatest(count(*), 1) FROM dead_letter d WHERE d.subscription = $1
                               AND d.topic = held.topic AND d.key = held.key AND d.held AND d.ended IS NULL) AS price_us
    FROM held
    UNION ALL SELECT pace_us, pace_us FROM own
), paid AS (
    INSERT INTO redrive_budget AS b (subscription, free_at)
    SELECT $1, statement_timestamp() + make_interval(secs => price_us / 1e6) FROM due WHERE pace_us > 0
    ON CONFLICT (subscription) DO UPDATE SET free_at = clock_timestamp() + (excluded.free_at - statement_timestamp())
    WHERE b.free_at <= clock_timestamp()
    RETURNING subscription
)
SELECT due.pace_us = 0 OR EXISTS (SELECT FROM paid),
       greatest(1000, coalesce((extract(epoch FROM b.free_at - clock_timestamp()) * 1e6)::bigint, 0))
FROM due LEFT JOIN redrive_budget b ON b.subscription = $1
