-- A key, and who made it.
WITH made AS (
    INSERT INTO sagabus.api_key (key_id, name, hash, scopes) VALUES ($1::text, $2::text, $3::bytea, $4::int)
    RETURNING key_id, name, scopes)
INSERT INTO sagabus.audit (who, act, target, detail)
SELECT 'db:' || session_user, 'key.create', name, jsonb_build_object('key_id', key_id, 'scopes', scopes) FROM made
