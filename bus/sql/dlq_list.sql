-- Open dead letters by subscription and error; due: those that are to be handed over again, with their key or alone.
SELECT jsonb_build_object(
    'subscription', subscription, 'error', fingerprint, 'reason', min(reason), 'count', count(*),
    'held', count(*) FILTER (WHERE held), 'keys', count(DISTINCT key) FILTER (WHERE held),
    'due', count(*) FILTER (WHERE CASE WHEN held THEN q.due_at ELSE d.due_at END IS NOT NULL), 'first_no', min(no),
    'oldest', min(first_failed_at), 'newest', max(first_failed_at))::text
FROM dead_letter d LEFT JOIN quarantine q USING (subscription, topic, key)
WHERE ended IS NULL AND ($1::text IS NULL OR subscription = $1)
GROUP BY subscription, fingerprint
ORDER BY subscription, count(*) DESC, fingerprint
