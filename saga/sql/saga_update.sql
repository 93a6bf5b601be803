-- What is searched for about sagas that ended, turned back, are paused or need an operator.
UPDATE sagabus.saga s
SET ended_at = u.ended_at, wake_at = u.wake_at, version = u.version, status = u.status, paused = u.paused,
    attention = u.attention, step = u.step, participant = u.participant, error = u.error,
    fingerprint = u.fingerprint, result = u.result, definition_hash = coalesce(u.definition_hash, s.definition_hash)
FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::int[], $5::smallint[], $6::boolean[],
    $7::boolean[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bytea[], $13::bytea[])
    AS u (no, ended_at, wake_at, version, status, paused, attention, step, participant, error, fingerprint, result,
        definition_hash)
WHERE s.no = u.no
