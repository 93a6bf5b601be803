INSERT INTO sagabus.api_key (key_id, name, hash, scopes) VALUES ($1::text, $2::text, $3::bytea, $4::int)
