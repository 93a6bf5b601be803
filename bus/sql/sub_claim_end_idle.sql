-- Ends transactions of the member before in which nothing happens: whoever stands still in one keeps its partition from
-- everybody. What they had done is undone, and done again by its new owner.
SELECT pg_terminate_backend(a.pid)
FROM position p JOIN pg_stat_activity a ON a.application_name = p.owner
WHERE p.subscription = $1 AND p.topic = $2 AND p.partition = $3 AND p.owner <> $4
  AND a.datname = current_database() AND a.usename = current_user AND a.state LIKE 'idle in transaction%'
  AND a.state_change < clock_timestamp() - make_interval(secs => $5::bigint / 1000.0)
