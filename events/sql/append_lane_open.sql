-- A lane for the batches of one connection.
INSERT INTO sagabus.append_lane (lane) VALUES ($1::uuid)
