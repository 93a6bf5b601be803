-- Session advisory lock of a role: free at once when its owner's connection dies.
SELECT pg_try_advisory_lock(1935763458, hashtext($1::text))
