-- New sagas of a batch. A business key that is there already is left out and missing in the answer; its events
-- are left out by event_insert. Leans on the unique index on (type, key), which waits for a racing start.
INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, shard, status,
    correlation, traceparent, input)
SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::bytea[], $7::bytea[],
    $8::int[], $9::smallint[], $10::smallint[], $11::text[], $12::text[], $13::bytea[])
ON CONFLICT (type, key) DO NOTHING
RETURNING no
