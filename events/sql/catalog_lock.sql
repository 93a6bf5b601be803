-- Whoever registers does it alone, so that what is read here is still so at the commit.
SELECT pg_advisory_xact_lock(1935763459)
