-- The newest seal; leans on the primary key.
SELECT to_seq, hash FROM sagabus.event_seal ORDER BY to_seq DESC LIMIT 1
