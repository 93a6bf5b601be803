-- One migration at a time per schema; freed with the transaction, so a dead runner blocks nobody.
SELECT pg_advisory_xact_lock(1935763459, hashtext($1::text))
