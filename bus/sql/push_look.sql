-- What others may have changed of the push subscriptions: paused, something due to be sent again, keys held back,
-- and whose it is. Leans
-- on the partial indexes of what is due.
SELECT p.name, p.paused_at IS NOT NULL,
    EXISTS (SELECT FROM sagabus.quarantine q WHERE q.subscription = p.name AND q.due_at <= clock_timestamp())
    OR EXISTS (SELECT FROM sagabus.dead_letter d WHERE d.subscription = p.name AND d.ended IS NULL
               AND d.due_at <= clock_timestamp()),
    EXISTS (SELECT FROM sagabus.quarantine q WHERE q.subscription = p.name), l.epoch
FROM sagabus.push p LEFT JOIN sagabus.lease l ON l.role = 'push:' || p.name
