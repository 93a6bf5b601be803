DELETE FROM sagabus.view_generation WHERE view = $1::text AND generation = $2::bigint AND NOT live
