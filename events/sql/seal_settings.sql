-- For the session that reads ranges of events to hash and to count them: starting workers would take longer than the
-- range, and of the tens of thousands that a count is of the planner expects a handful, and would sort them, on disk.
SELECT set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false),
    set_config('enable_sort', 'off', false)
