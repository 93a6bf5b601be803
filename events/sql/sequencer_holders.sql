-- Transactions of this database that hold the insert lock on the event table. Second statement of a tick: it must
-- see the locks as they are after sequencer_last.sql was answered.
SELECT l.virtualtransaction, coalesce(l.pid, 0)
FROM pg_locks l
WHERE l.locktype = 'relation' AND l.relation = 'sagabus.event'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
