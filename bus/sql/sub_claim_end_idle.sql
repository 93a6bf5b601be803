-- Ends transactions of the member before that hold this partition and in which nothing happens: whoever stands still in
-- one keeps it from everybody. What they had done is undone, and done again by the new owner. Who holds the row is in
-- its xmax: a transaction, or a multixact of some. The numbers of both run side by side, so one may be taken for the
-- other, but never another member's; transactions in other partitions, and those that only read, are left alone.
SELECT pg_terminate_backend(a.pid)
FROM position p
JOIN pg_stat_activity a ON a.application_name = p.owner
JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
WHERE p.subscription = $1 AND p.topic = $2 AND p.partition = $3 AND p.owner <> $4
  AND a.datname = current_database() AND a.usename = current_user AND a.state LIKE 'idle in transaction%'
  AND a.state_change < clock_timestamp() - make_interval(secs => $5::bigint / 1000.0)
  AND (l.transactionid = p.xmax
       OR l.transactionid IN (
           SELECT m.xid FROM pg_get_multixact_members(
               CASE WHEN mxid_age(p.xmax) BETWEEN 1 AND (SELECT mxid_age(d.datminmxid) FROM pg_database d
                                                         WHERE d.datname = current_database()) THEN p.xmax END) m))
