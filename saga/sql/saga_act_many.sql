-- One act on many sagas: a row of the record, and a verb for each that is open still. Primary key of saga.
WITH act AS (
    INSERT INTO sagabus.audit (who, act, reason, detail) VALUES ($4::text, 'saga.' || $2::text, $5::text, $6::jsonb)
    RETURNING audit_no),
added AS (
    INSERT INTO sagabus.saga_command (saga_no, shard, verb, body, requested_by, reason, audit_no)
    SELECT s.no, s.shard, $2, $3::jsonb, $4, $5, act.audit_no
    FROM unnest($1::bigint[]) AS u (no)
    JOIN sagabus.saga s ON s.no = u.no
    CROSS JOIN act
    WHERE s.ended_at IS NULL
    RETURNING shard),
told AS (
    SELECT count(*) AS n, pg_notify('sagabus_saga_command', shard::text)::text FROM added GROUP BY shard)
SELECT (SELECT audit_no FROM act), coalesce((SELECT sum(n) FROM told), 0)::bigint
