-- A tick at work: one round trip, and one commit when safe_seq moves. migrations/0001_core.sql has its order.
SELECT drawn, run, safe, looked, holder, pid
FROM sagabus.sequencer_tick($1::bigint, $2::bigint, $3::bigint, $4::text[], $5::bigint[], $6::bool, $7::bigint)
