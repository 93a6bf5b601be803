-- The append: one call, one transaction, many events (0001_core.sql says in which order it locks and draws).
SELECT outcome, version, first_seq, last_seq
FROM sagabus.event_append($1::text, $2::text, $3::int, $4::int, $5::uuid, $6::bytea,
    $7::uuid[], $8::int[], $9::timestamptz[], $10::bytea[], $11::bytea[])
