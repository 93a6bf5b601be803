-- Gives a newly registered version of an event type its number.
INSERT INTO sagabus.event_type (name, version) VALUES ($1::text, $2::int) ON CONFLICT DO NOTHING
