SELECT key_id, name, scopes, created_at, revoked_at FROM sagabus.api_key ORDER BY created_at
