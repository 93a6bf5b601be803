-- The answers to batch $2 of a lane, one row an append.
SELECT a.outcome, a.version, coalesce(a.first_seq, 0) AS first_seq, coalesce(a.last_seq, 0) AS last_seq
FROM (SELECT unnest(answers) AS outcome, unnest(versions) AS version, unnest(first_seqs) AS first_seq,
        unnest(last_seqs) AS last_seq
    FROM sagabus.append_lane WHERE lane = $1::uuid AND number = $2::bigint) a
