SELECT pg_advisory_unlock(1935763458, hashtext($1::text))
