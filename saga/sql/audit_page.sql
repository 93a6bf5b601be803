-- What operators did, newest first, behind the cursor ($1 to $3): acts on sagas, one by one, and all else (source 0).
-- Planned with its arguments: leans on saga_command_requested, or on saga_command_saga, saga_command_audit or the primary
-- key with a saga, an act on many, or one command; and on audit_at.
SELECT at, source, no, who, act, target, reason, detail, outcome, done_at, audit_no
FROM (
    (SELECT c.requested_at AS at, 1 AS source, c.command_no AS no, c.requested_by AS who, 'saga.' || c.verb AS act,
        s.id::text AS target, c.reason, c.body::text AS detail, c.outcome, c.done_at, c.audit_no
    FROM sagabus.saga_command c
    JOIN sagabus.saga s ON s.no = c.saga_no
    WHERE ($4::bigint IS NULL OR c.saga_no = $4) AND ($5::bigint IS NULL OR c.audit_no = $5)
        AND ($6::bigint IS NULL OR c.command_no = $6)
        AND (c.requested_at, 1, c.command_no) < (coalesce($1::timestamptz, 'infinity'), $2::int, $3::bigint)
    ORDER BY c.requested_at DESC, c.command_no DESC
    LIMIT $7::bigint)
    UNION ALL
    (SELECT a.at, 0, a.audit_no, a.who, a.act, a.target, a.reason, a.detail::text, NULL, NULL, a.audit_no
    FROM sagabus.audit a
    WHERE $4 IS NULL AND $6 IS NULL AND ($5 IS NULL OR a.audit_no = $5)
        AND (a.at, 0, a.audit_no) < (coalesce($1, 'infinity'), $2, $3)
    ORDER BY a.at DESC, a.audit_no DESC
    LIMIT $7)) acts
ORDER BY at DESC, source DESC, no DESC
LIMIT $7
