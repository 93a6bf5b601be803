INSERT INTO migration (name, hash) VALUES ($1::text, $2::bytea)
