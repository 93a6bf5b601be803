-- This transaction does not wait for the disk: what a crash of PostgreSQL takes from a position is sent again.
SELECT set_config('synchronous_commit', 'off', true)
