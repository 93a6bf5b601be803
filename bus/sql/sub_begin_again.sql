-- The topic was made anew: an offset of the old one says nothing. Its records have no positions; rows of the inbox tell
-- repeats.
UPDATE position SET next_offset = -1, at = clock_timestamp()
WHERE subscription = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND incarnation = 0
