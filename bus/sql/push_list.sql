-- Push subscriptions as operators see them: the newest registered version of each, and how far it is.
SELECT jsonb_build_object(
    'name', a.name, 'version', a.version, 'in_use', p.version,
    'state', CASE WHEN p.name IS NULL THEN 'new' WHEN p.paused_at IS NOT NULL THEN 'paused'
                  WHEN p.problem <> '' THEN 'stuck' ELSE 'running' END,
    'paused_at', p.paused_at, 'paused_by', p.paused_by, 'paused_reason', p.paused_reason, 'problem', coalesce(p.problem, ''),
    'owner', CASE WHEN l.beat > clock_timestamp() - interval '1 minute' THEN l.owner END,
    'seq', l.cursor, 'behind', greatest(s.cursor - l.cursor, 0),
    'delivered', coalesce(p.delivered, 0), 'failures', coalesce(p.failures, 0), 'delivered_at', p.delivered_at,
    'dead_letters', (SELECT count(*) FROM sagabus.dead_letter d WHERE d.subscription = a.name AND d.ended IS NULL),
    'keys_held', (SELECT count(*) FROM sagabus.quarantine q WHERE q.subscription = a.name))::text, a.body
FROM (SELECT DISTINCT ON (name) name, version, body FROM sagabus.artifact WHERE kind = 'subscription'
      ORDER BY name, version DESC) a
LEFT JOIN sagabus.push p ON p.name = a.name
LEFT JOIN sagabus.lease l ON l.role = 'push:' || a.name
JOIN sagabus.lease s ON s.role = 'sequencer'
WHERE $1::text IS NULL OR a.name = $1::text
ORDER BY a.name
