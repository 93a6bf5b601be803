-- The row of a push subscription, with its first position; in the transaction of its lease.
INSERT INTO sagabus.push (name, version) VALUES ($1::text, $2::int)
ON CONFLICT (name) DO UPDATE SET version = excluded.version WHERE push.version <> excluded.version
