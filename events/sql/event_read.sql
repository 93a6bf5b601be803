-- A page of the whole store, at most $3 events and 8 MiB of bodies (one event at least), with the count of those that
-- the bytes did not limit. Leans on the primary key (seq, class) of each leaf; never above the safe sequence number:
-- a snapshot that sees it sees all below it. $2 NULL: up to there. $4: only the types of $5.
-- A saga's key is its id, by the primary key of saga: asked only for what the page gives.
SELECT seq, stream_no, at, version, type_no, class, id, meta, data,
    CASE class WHEN 1 THEN key ELSE coalesce((SELECT g.id::text FROM sagabus.saga g WHERE g.no = stream_no), stream_no::text) END,
    page_count
FROM (
    SELECT p.*, count(*) OVER () AS page_count,
           sum(octet_length(p.data)) OVER (ORDER BY p.seq) - octet_length(p.data) AS bytes_before
    FROM (
        SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data, s.key
        FROM sagabus.event e
        LEFT JOIN sagabus.stream s ON e.class = 1 AND s.stream_no = e.stream_no
        WHERE e.seq > $1::bigint
            AND e.seq <= least($2::bigint, (SELECT l.cursor FROM sagabus.lease l WHERE l.role = 'sequencer')) AND (NOT $4::bool OR e.type_no = ANY ($5::int[]))
            AND (e.class = 1 OR NOT $6::bool)
        ORDER BY e.seq LIMIT $3::int
    ) p
) counted
WHERE bytes_before < 8388608
ORDER BY seq
