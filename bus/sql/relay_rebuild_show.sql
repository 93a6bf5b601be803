-- One request, and whether a relay's beat is fresh. Leans on the primary keys.
SELECT r.category, r.recreate, r.done_seq, r.upto_seq, r.sent, r.ended_at IS NOT NULL, r.error,
    l.owner IS NOT NULL AND l.beat > clock_timestamp() - interval '30 s'
FROM sagabus.relay_rebuild r, sagabus.lease l WHERE r.rebuild_no = $1::bigint AND l.role = 'relay'
