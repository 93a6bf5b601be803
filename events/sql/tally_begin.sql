-- A reader that counts from here on, unless it does already; with other types than before (another release) it begins anew.
-- Leans on the primary keys.
WITH begun AS (
    INSERT INTO sagabus.tally_reader AS r (role, generation, domain, saga, begun_seq)
    VALUES ($1::text, $2::bigint, $3::text[], $4::text[], $5::bigint)
    ON CONFLICT (role, generation) DO UPDATE SET domain = excluded.domain, saga = excluded.saga, begun_seq = excluded.begun_seq
        WHERE (r.domain, r.saga) IS DISTINCT FROM (excluded.domain, excluded.saga)
    RETURNING role, generation
)
DELETE FROM sagabus.tally t USING begun b WHERE t.role = b.role AND t.generation = b.generation
