-- Gives up batch $2 of a lane, waiting for it should it be at its end. A row: it has not happened and never will,
-- for it would find no row of the number before. No row: it has committed and its answers are there, or it was given
-- up before and there are none.
UPDATE sagabus.append_lane SET number = $2::bigint, answers = NULL, versions = NULL, first_seqs = NULL, last_seqs = NULL
WHERE lane = $1::uuid AND number = $2::bigint - 1 RETURNING number
