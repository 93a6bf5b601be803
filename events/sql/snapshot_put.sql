-- Keeps a snapshot unless a newer one is there, or events of the stream were erased since its state was loaded ($6); takes
-- away those of forms that nobody has written for a week. Who erases holds the table: this statement's snapshot is taken
-- when it has its lock, so it sees one that it had to wait for.
WITH old AS (
    DELETE FROM sagabus.snapshot
    WHERE stream_no = $1::bigint AND aggregate = $2::text AND form <> $3::int AND at < clock_timestamp() - interval '7 days')
INSERT INTO sagabus.snapshot AS n (stream_no, aggregate, form, version, state)
SELECT $1::bigint, $2::text, $3::int, $4::int, $5::bytea FROM sagabus.stream s WHERE s.stream_no = $1::bigint AND s.erasures = $6::int
ON CONFLICT (stream_no, aggregate, form) DO UPDATE
SET version = excluded.version, at = clock_timestamp(), state = excluded.state
WHERE n.version < excluded.version
