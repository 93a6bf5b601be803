-- Sagas are to be undone by those they are steps of: verbs for their owners, who are told. One at a time waits for each.
WITH added AS (
    INSERT INTO sagabus.saga_command (saga_no, shard, verb, requested_by, reason)
    SELECT s.no, s.shard, 'undo', u.by, 'the saga it is a step of turned back'
    FROM unnest($1::bigint[], $2::text[]) AS u (no, by)
    JOIN sagabus.saga s ON s.no = u.no
    WHERE NOT EXISTS (
        SELECT FROM sagabus.saga_command c WHERE c.saga_no = s.no AND c.verb = 'undo' AND c.done_at IS NULL)
    RETURNING shard)
SELECT shard, pg_notify('sagabus_saga_command', shard::text)::text FROM added GROUP BY shard
