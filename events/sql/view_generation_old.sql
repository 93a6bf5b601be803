-- The generation that was live before the present one; or, with $2 above 0, that one.
SELECT generation, version, seq FROM sagabus.view_generation
WHERE view = $1::text AND NOT live AND ($2::bigint = 0 OR generation = $2::bigint)
ORDER BY live_since DESC, generation DESC LIMIT 1
