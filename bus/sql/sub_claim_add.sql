-- The row of a partition, when it is the first time.
INSERT INTO position (subscription, topic, partition) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
