-- Whether a push subscription has begun, the incarnation of the store, and what was safe when it was first applied.
SELECT EXISTS (SELECT FROM sagabus.push WHERE name = $1::text), (SELECT s.incarnation FROM sagabus.store s WHERE s.id = 1),
    (SELECT a.safe_seq FROM sagabus.artifact a WHERE a.kind = 'subscription' AND a.name = $1::text ORDER BY a.version LIMIT 1)
