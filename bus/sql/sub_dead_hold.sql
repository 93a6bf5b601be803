-- Holds a key back.
INSERT INTO quarantine (subscription, topic, key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
