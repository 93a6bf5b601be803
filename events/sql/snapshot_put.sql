-- Keeps a snapshot unless a newer one is there; takes away those of forms that nobody has written for a week.
WITH old AS (
    DELETE FROM sagabus.snapshot
    WHERE stream_no = $1::bigint AND aggregate = $2::text AND form <> $3::int AND at < clock_timestamp() - interval '7 days')
INSERT INTO sagabus.snapshot AS n (stream_no, aggregate, form, version, state)
VALUES ($1::bigint, $2::text, $3::int, $4::int, $5::bytea)
ON CONFLICT (stream_no, aggregate, form) DO UPDATE
SET version = excluded.version, at = clock_timestamp(), state = excluded.state
WHERE n.version < excluded.version
