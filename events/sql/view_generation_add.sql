INSERT INTO sagabus.view_generation (view, generation, version, fingerprint, live)
VALUES ($1::text, $2::bigint, $3::int, $4::bytea, true)
