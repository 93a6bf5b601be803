-- Whether a push subscription has begun, and the incarnation of the store.
SELECT EXISTS (SELECT FROM sagabus.push WHERE name = $1::text), (SELECT s.incarnation FROM sagabus.store s WHERE s.id = 1)
