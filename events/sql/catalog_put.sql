-- Registers one version. No row: it is there already, with the hash that catalog_hash.sql gives.
INSERT INTO sagabus.artifact (kind, name, version, hash, body, safe_seq)
VALUES ($1::text, $2::text, $3::int, $4::bytea, $5::bytea,
        (SELECT coalesce(max(cursor), 0) FROM sagabus.lease WHERE role = 'sequencer'))
ON CONFLICT DO NOTHING RETURNING version
