-- This store goes on as another one than Kafka knows. Leans on the primary key.
UPDATE sagabus.store SET incarnation = incarnation + 1 WHERE id = 1 RETURNING incarnation
