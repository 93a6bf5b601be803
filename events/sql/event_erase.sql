-- Erases bodies (0012_erase.sql says how), or with $6 only says what there is to erase.
SELECT outcome, stream, first_version, erased, before, snapshots, dead_letters, views
FROM sagabus.event_erase_recorded($1::text, $2::text, $3::bigint, coalesce($4::text, 'db:' || session_user), $5::text, $6::bool)
