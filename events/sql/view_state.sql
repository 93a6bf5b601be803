-- What a reader needs to know of a view: which definition its rows follow, and up to where they are right.
SELECT g.generation, g.version, coalesce(l.cursor, 0)
FROM sagabus.view_generation g LEFT JOIN sagabus.lease l ON l.role = 'view:' || g.view
WHERE g.view = $1::text AND g.live
