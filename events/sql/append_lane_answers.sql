-- The answers to batch $2 of a lane, one row an append. Who asks has had no answer of the commit, and that its rows are to be
-- seen says nothing about the disk: this commit, which lies behind it in the log, waits for both.
WITH batch AS (
    UPDATE sagabus.append_lane SET at = clock_timestamp() WHERE lane = $1::uuid AND number = $2::bigint
    RETURNING answers, versions, first_seqs, last_seqs, CASE WHEN current_setting('synchronous_commit') = 'off'
        THEN set_config('synchronous_commit', 'on', true) END)
SELECT a.outcome, a.version, coalesce(a.first_seq, 0) AS first_seq, coalesce(a.last_seq, 0) AS last_seq
FROM (SELECT unnest(answers) AS outcome, unnest(versions) AS version, unnest(first_seqs) AS first_seq,
        unnest(last_seqs) AS last_seq
    FROM batch) a
