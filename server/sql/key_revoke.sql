UPDATE sagabus.api_key SET revoked_at = clock_timestamp() WHERE (name = $1::text OR key_id = $1::text) AND revoked_at IS NULL
