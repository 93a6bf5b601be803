-- An old generation is the live one again.
UPDATE sagabus.view_generation SET live = true, live_since = clock_timestamp()
WHERE view = $1::text AND generation = $2::bigint
