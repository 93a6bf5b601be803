-- Session advisory lock of a role: free at once when its owner's connection dies. 64 bits of the name, so that
-- two roles never share one.
SELECT pg_try_advisory_lock(hashtextextended($1::text, 1935763458))
