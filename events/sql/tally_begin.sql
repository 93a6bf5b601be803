-- A reader that counts from here on, unless it does already. Leans on the primary key.
INSERT INTO sagabus.tally_reader (role, generation, domain, saga, begun_seq)
VALUES ($1::text, $2::bigint, $3::text[], $4::text[], $5::bigint)
ON CONFLICT (role, generation) DO NOTHING
