-- For the session that reads ranges of events to hash them: starting workers would take longer than the range.
SELECT set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false)
