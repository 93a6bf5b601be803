-- The keys in force; a handful.
SELECT key_id, name, hash, scopes FROM sagabus.api_key WHERE revoked_at IS NULL ORDER BY key_id LIMIT 10000
