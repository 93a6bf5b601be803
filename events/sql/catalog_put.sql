-- Registers one version. No row: it is there already, with the hash that catalog_hash.sql gives.
INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ($1::text, $2::text, $3::int, $4::bytea, $5::bytea)
ON CONFLICT DO NOTHING RETURNING version
