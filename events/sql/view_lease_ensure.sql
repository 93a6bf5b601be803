-- A lease row to lock, also for a view that was never projected.
INSERT INTO sagabus.lease (role) VALUES ($1::text) ON CONFLICT (role) DO NOTHING
