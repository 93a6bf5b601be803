-- Leaf partitions for the next values of seq. A lock that is not to be had at once is asked for next time.
SELECT set_config('lock_timeout', '200ms', true), sagabus.event_partitions_ahead($1::bigint)
