UPDATE sagabus.event_detached SET done_at = clock_timestamp() WHERE class = $1::smallint AND to_seq <= $2::bigint AND done_at IS NULL
