SELECT pg_advisory_unlock(1935763459, pg_backend_pid())
