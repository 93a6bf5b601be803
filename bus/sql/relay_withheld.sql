-- Writes down events that were withheld: arrays of seq, id, type, topic, partition, bytes. One that is sent again after a
-- crash is there already. Leans on the primary key; in the transaction of the relay's lease.
INSERT INTO sagabus.relay_withheld (seq, event_id, type, topic, partition, bytes)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::bigint[])
ON CONFLICT (seq) DO NOTHING
