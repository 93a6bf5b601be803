-- Ranges that differ, those of readers as they are now; accepted ones too, the newest $1.
SELECT g.role, g.from_seq, g.to_seq, g.events, g.taken, g.found_at, g.accepted_at, g.accepted_by, g.reason
FROM sagabus.tally_gap g JOIN sagabus.lease l USING (role) WHERE g.generation = 0 OR g.generation = l.next
ORDER BY g.found_at DESC, g.role, g.block LIMIT $1::bigint
