-- The keys that a fold of this generation passes over; NULL for each event that had none to be read.
SELECT table_name, key FROM sagabus.view_parked WHERE view = $1::text AND generation = $2::bigint
