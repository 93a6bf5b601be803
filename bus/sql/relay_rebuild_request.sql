-- Asks that the topic of category $1 be filled again; $2: delete it first when it is not empty; $3: who asks. An open
-- request for it is the same one. Leans on the index of open requests.
INSERT INTO sagabus.relay_rebuild (category, recreate, requested_by) VALUES ($1::text, $2::boolean, $3::text)
ON CONFLICT (category) WHERE ended_at IS NULL DO UPDATE SET recreate = relay_rebuild.recreate OR excluded.recreate
RETURNING rebuild_no
