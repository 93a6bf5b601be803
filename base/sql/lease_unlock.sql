SELECT pg_advisory_unlock(hashtextextended($1::text, 1935763458))
