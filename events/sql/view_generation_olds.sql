-- Old generations but one.
SELECT generation FROM sagabus.view_generation WHERE view = $1::text AND NOT live AND generation <> $2::bigint
ORDER BY generation
