-- The sagas that hold these business keys. Leans on the unique index on (type, key).
SELECT u.place::int, s.no, s.id, s.status, s.request_hash, s.input
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u (type, key, place)
JOIN sagabus.saga s ON s.type = u.type AND s.key = u.key
