SELECT to_seq FROM sagabus.event_seal WHERE hash = $1::bytea LIMIT 1
