-- Each reader: how far it is, up to where its count was compared, ranges that differ and that nobody has accepted, the
-- first of them.
SELECT r.role, r.generation, l.cursor, r.looked_seq, count(g.block) FILTER (WHERE g.accepted_at IS NULL),
    (array_agg(g.from_seq ORDER BY g.block) FILTER (WHERE g.accepted_at IS NULL))[1],
    (array_agg(g.to_seq ORDER BY g.block) FILTER (WHERE g.accepted_at IS NULL))[1],
    (array_agg(g.events ORDER BY g.block) FILTER (WHERE g.accepted_at IS NULL))[1],
    (array_agg(g.taken ORDER BY g.block) FILTER (WHERE g.accepted_at IS NULL))[1]
FROM sagabus.tally_reader r JOIN sagabus.lease l USING (role) LEFT JOIN sagabus.tally_gap g USING (role, generation)
WHERE r.generation = 0 OR r.generation = l.next
GROUP BY r.role, r.generation, l.cursor, r.looked_seq ORDER BY r.role
