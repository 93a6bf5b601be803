-- Several appends: one call, one transaction, one row each (0001_core.sql says in which order it locks and draws).
SELECT outcome, version, first_seq, last_seq
FROM sagabus.event_append_many($1::uuid, $2::bigint, $3::bool, $4::text[], $5::text[], $6::int[], $7::int[], $8::uuid[],
    $9::bytea[], $10::int[], $11::int[], $12::int[], $13::int[], $14::uuid[], $15::int[], $16::timestamptz[],
    $17::bytea[], $18::bytea[])
