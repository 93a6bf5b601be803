-- Another position: the owner finds its epoch gone and begins anew there. One that has not begun begins there.
WITH begun AS (
    INSERT INTO sagabus.push (name, version)
    SELECT a.name, max(a.version) FROM sagabus.artifact a WHERE a.kind = 'subscription' AND a.name = $1::text GROUP BY a.name
    ON CONFLICT DO NOTHING RETURNING name
)
INSERT INTO sagabus.lease AS l (role, epoch, cursor)
SELECT 'push:' || $1::text, 1, $2::bigint
WHERE EXISTS (SELECT FROM begun) OR EXISTS (SELECT FROM sagabus.push p WHERE p.name = $1::text)
ON CONFLICT (role) DO UPDATE SET epoch = l.epoch + 1, cursor = excluded.cursor
