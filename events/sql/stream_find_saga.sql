-- The stream of a saga, in the columns of stream_find.sql. It has no row in sagabus.stream: its versions are looked up
-- in the index of (stream_no, version), and nothing is known of its seqs.
SELECT $1::bigint, v.newest, v.oldest, 1::bigint, 9223372036854775807::bigint
FROM (SELECT (SELECT max(e.version) FROM sagabus.event e WHERE e.class = 2 AND e.stream_no = $1::bigint) AS newest,
             (SELECT min(e.version) FROM sagabus.event e WHERE e.class = 2 AND e.stream_no = $1::bigint) AS oldest) v
WHERE v.newest IS NOT NULL AND EXISTS (SELECT FROM sagabus.saga s WHERE s.no = $1::bigint AND s.id = $2::uuid)
