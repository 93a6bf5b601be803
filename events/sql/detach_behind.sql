-- Who has not passed $2 yet, in class $1, and where it stands: what lies behind it must stay. One row at most: the one
-- that is furthest behind.
SELECT who, at FROM (
    SELECT 'the sequencer' AS who, cursor AS at FROM sagabus.lease WHERE role = 'sequencer'
    UNION ALL SELECT 'the relay to Kafka', cursor FROM sagabus.lease WHERE role = 'relay'
    UNION ALL SELECT 'sealing (store.seal_ms)', cursor FROM sagabus.lease WHERE role = 'keeper'
    UNION ALL SELECT 'view ' || a.name, coalesce(l.cursor, 0)
        FROM (SELECT DISTINCT name FROM sagabus.artifact WHERE kind = 'view') a
        LEFT JOIN sagabus.lease l ON l.role = 'view:' || a.name
        WHERE $1::int = 1
    UNION ALL SELECT 'push subscription ' || p.name, l.cursor
        FROM sagabus.push p JOIN sagabus.lease l ON l.role = 'push:' || p.name
    UNION ALL SELECT 'push subscription ' || a.name || ', which has not begun,',
                     CASE WHEN convert_from(a.body, 'UTF8')::jsonb ->> 'from' = 'start' THEN 0 ELSE f.safe_seq END
        FROM (SELECT DISTINCT ON (name) name, body FROM sagabus.artifact WHERE kind = 'subscription'
              ORDER BY name, version DESC) a
        JOIN (SELECT DISTINCT ON (name) name, safe_seq FROM sagabus.artifact WHERE kind = 'subscription'
              ORDER BY name, version) f USING (name)
        WHERE NOT EXISTS (SELECT FROM sagabus.push p WHERE p.name = a.name)
    UNION ALL SELECT 'saga ' || s.id || ', which is open,', coalesce(min(e.seq) - 1, 0)
        FROM sagabus.saga s JOIN sagabus.event e ON e.class = 2 AND e.stream_no = s.no AND e.seq <= $2::bigint
        WHERE $1::int = 2 AND s.ended_at IS NULL GROUP BY s.id
) behind
WHERE at < $2::bigint ORDER BY at LIMIT 1
