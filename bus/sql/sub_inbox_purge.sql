-- Rows of topics without positions, when no repeat can come any more.
DELETE FROM inbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM inbox WHERE seq = 0 AND at < now() - interval '14 days' LIMIT 5000))
