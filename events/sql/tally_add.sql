-- What a reader took in since its cursor was last written; in the transaction that writes it again. Leans on the primary
-- key.
INSERT INTO sagabus.tally AS t (role, generation, block, events, seqs)
SELECT $1::text, $2::bigint, n.block, n.events, n.seqs
FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS n (block, events, seqs)
ON CONFLICT (role, generation, block) DO UPDATE SET events = t.events + excluded.events, seqs = t.seqs + excluded.seqs
