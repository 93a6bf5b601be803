SELECT hash FROM sagabus.artifact WHERE kind = $1::text AND name = $2::text AND version = $3::int
