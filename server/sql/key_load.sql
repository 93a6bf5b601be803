-- All keys; a handful. Revoked ones open nothing, but they count: revoking the last key does not reopen the API.
SELECT key_id, name, hash, CASE WHEN revoked_at IS NULL THEN scopes ELSE 0 END FROM sagabus.api_key
ORDER BY key_id LIMIT 10000
