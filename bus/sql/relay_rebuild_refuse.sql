-- Request $1 cannot be done: $2 says why. Leans on the primary key; in the transaction of the relay's lease.
UPDATE sagabus.relay_rebuild SET ended_at = clock_timestamp(), error = $2::text WHERE rebuild_no = $1::bigint AND ended_at IS NULL
