-- A key that opens nothing any more, and who saw to that.
WITH revoked AS (
    UPDATE sagabus.api_key SET revoked_at = clock_timestamp() WHERE (name = $1::text OR key_id = $1::text) AND revoked_at IS NULL
    RETURNING key_id, name)
INSERT INTO sagabus.audit (who, act, target, detail)
SELECT 'db:' || session_user, 'key.revoke', name, jsonb_build_object('key_id', key_id) FROM revoked
