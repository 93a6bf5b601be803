-- How far request $1 is: read up to $2, to be read up to $3, $4 records more in Kafka; $5: it has ended. Leans on the primary
-- key; in the transaction of the relay's lease.
UPDATE sagabus.relay_rebuild SET done_seq = $2::bigint, upto_seq = $3::bigint, sent = sent + $4::bigint,
    ended_at = CASE WHEN $5::boolean THEN clock_timestamp() END
WHERE rebuild_no = $1::bigint AND ended_at IS NULL
