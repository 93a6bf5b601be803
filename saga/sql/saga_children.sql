-- Where sagas stand that are steps of others, and how those that came to nothing failed (the body of their last refused
-- step), and what came of the last undo that was asked of them. In one list by place. Primary key of saga, (stream_no,
-- version) of each partition, saga_command_saga (an aggregate: for one row by number the whole table would be walked back).
SELECT u.place::int, s.status, s.ended_at IS NOT NULL, s.result, s.error,
    CASE WHEN s.status IN (4, 5) THEN (
        SELECT e.data FROM sagabus.event e
        WHERE e.class = 2 AND e.stream_no = s.no AND e.type_no = $2::int
        ORDER BY e.version DESC LIMIT 1) END,
    EXISTS (SELECT FROM sagabus.saga_command c WHERE c.saga_no = s.no AND c.verb = 'undo' AND c.done_at IS NULL),
    (SELECT (array_agg(c.outcome ORDER BY c.command_no DESC))[1] FROM sagabus.saga_command c
        WHERE c.saga_no = s.no AND c.verb = 'undo')
FROM unnest($1::bigint[]) WITH ORDINALITY AS u (no, place)
JOIN sagabus.saga s ON s.no = u.no
