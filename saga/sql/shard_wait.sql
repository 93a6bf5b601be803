-- Says that this instance has no shard: a session lock that others see in pg_locks, gone with the connection.
SELECT pg_try_advisory_lock(1935763459, pg_backend_pid())
