-- Compares, of the reader $1 in generation $2, the next $3 numbers of seq (a multiple of the block) with the event table:
-- one statement, so that counts, cursor and events are of one snapshot. What has a difference is noted, or no longer; whole
-- blocks are done with. What was detached of a class that the reader takes in is passed over, to the end of its block: a
-- count is of a whole one. A difference before from_seq is not looked at again, so it stays noted. READ COMMITTED, under the
-- keeper's lease. Leans on the primary keys of events and tallies.
WITH reader AS MATERIALIZED (
    SELECT r.role, r.generation, r.domain, r.saga, p.from_seq,
        greatest(p.from_seq, least(l.cursor, s.cursor, p.from_seq / 10000 * 10000 + $3::bigint)) AS to_seq, least(l.cursor, s.cursor) AS at_seq,
        ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY (r.domain)) AS domain_nos,
        ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name = ANY (r.saga)) AS saga_nos
    FROM sagabus.tally_reader r JOIN sagabus.lease l USING (role) CROSS JOIN sagabus.lease s
    CROSS JOIN LATERAL (SELECT greatest(r.checked_seq, r.begun_seq,
        (SELECT (max(d.to_seq) + 9999) / 10000 * 10000 FROM sagabus.event_detached d
         WHERE d.class = 1 OR cardinality(r.saga) > 0)) AS from_seq) p
    WHERE r.role = $1::text AND r.generation = $2::bigint AND s.role = 'sequencer'
), had AS (
    SELECT (e.seq - 1) / 10000 AS block, count(*) AS events, sum(e.seq - (e.seq - 1) / 10000 * 10000)::bigint AS seqs
    FROM (
        SELECT seq FROM sagabus.event WHERE class = 1 AND seq > (SELECT from_seq FROM reader) AND seq <= (SELECT to_seq FROM reader)
            AND ((SELECT domain IS NULL FROM reader) OR type_no = ANY ((SELECT domain_nos FROM reader)::int[]))
        UNION ALL
        SELECT seq FROM sagabus.event WHERE class = 2 AND seq > (SELECT from_seq FROM reader) AND seq <= (SELECT to_seq FROM reader)
            AND type_no = ANY ((SELECT saga_nos FROM reader)::int[])
    ) e
    GROUP BY 1
), took AS (
    SELECT t.block, t.events, t.seqs FROM sagabus.tally t, reader r
    WHERE t.role = r.role AND t.generation = r.generation AND t.block >= r.from_seq / 10000 AND t.block * 10000 < r.to_seq
), wrong AS MATERIALIZED (
    SELECT block, coalesce(had.events, 0) AS events, coalesce(took.events, 0) AS taken
    FROM had FULL JOIN took USING (block)
    WHERE (had.events, had.seqs) IS DISTINCT FROM (took.events, took.seqs)
), noted AS (
    INSERT INTO sagabus.tally_gap AS g (role, generation, block, from_seq, to_seq, events, taken)
    SELECT r.role, r.generation, w.block, greatest(w.block * 10000, r.from_seq) + 1, least((w.block + 1) * 10000, r.to_seq), w.events, w.taken
    FROM wrong w, reader r
    ON CONFLICT (role, generation, block) DO UPDATE SET to_seq = excluded.to_seq, events = excluded.events, taken = excluded.taken,
        accepted_at = CASE WHEN g.events - g.taken = excluded.events - excluded.taken THEN g.accepted_at END
), mended AS (
    DELETE FROM sagabus.tally_gap g USING reader r WHERE g.role = r.role AND g.generation = r.generation
        AND g.from_seq > r.from_seq AND g.block * 10000 < r.to_seq AND g.block NOT IN (SELECT block FROM wrong)
), done AS (
    DELETE FROM sagabus.tally t USING reader r
    WHERE t.role = r.role AND t.generation = r.generation AND t.block < r.to_seq / 10000
)
UPDATE sagabus.tally_reader t SET checked_seq = greatest(t.checked_seq, r.to_seq / 10000 * 10000), looked_seq = r.to_seq
FROM reader r WHERE t.role = r.role AND t.generation = r.generation
RETURNING r.to_seq, r.at_seq, (SELECT count(*) FROM wrong)
