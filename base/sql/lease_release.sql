UPDATE sagabus.lease SET owner = NULL WHERE role = $1::text AND epoch = $2::bigint
