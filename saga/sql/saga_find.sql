SELECT id FROM sagabus.saga WHERE type = $1::text AND key = $2::text
