-- The newest $1 events that were withheld, and how many there are. Leans on the primary key.
SELECT seq, event_id, type, topic, partition, bytes, at FROM sagabus.relay_withheld ORDER BY seq DESC LIMIT $1::bigint
