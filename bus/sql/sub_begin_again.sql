-- The topic was made anew: an offset of the old one says nothing. Its records have no positions; rows of the inbox tell
-- repeats. Not -1: whoever takes over now would begin as one without a position does, which may be at the end.
UPDATE position SET next_offset = 0, at = clock_timestamp()
WHERE subscription = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND incarnation = 0
