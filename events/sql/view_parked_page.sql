-- What is parked in a generation, in the order it was; $3 is the place to go on after.
SELECT parked_no, table_name, key, first_seq, event_type, error, at FROM sagabus.view_parked
WHERE view = $1::text AND generation = $2::bigint AND parked_no > $3::bigint
ORDER BY parked_no
LIMIT $4::int
