-- Erases bodies (0005_seal.sql says how), or with $6 only says what there is to erase.
SELECT outcome, stream, first_version, erased, before
FROM sagabus.event_erase_recorded($1::text, $2::text, $3::bigint, coalesce($4::text, 'db:' || session_user), $5::text, $6::bool)
