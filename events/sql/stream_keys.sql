-- The keys of some streams, for a page of events of many; a number below 0 is that of a saga, whose key is its id. Leans on
-- the primary keys, that of saga row by row.
SELECT stream_no, key FROM sagabus.stream WHERE stream_no = ANY ($1::bigint[])
UNION ALL
SELECT u.no, coalesce((SELECT g.id::text FROM sagabus.saga g WHERE g.no = -u.no), (-u.no)::text)
FROM unnest($1::bigint[]) AS u (no) WHERE u.no < 0
