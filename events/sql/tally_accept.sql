-- Accepts what is known to differ by now, of one reader or (NULL) of all.
UPDATE sagabus.tally_gap SET accepted_at = clock_timestamp(), accepted_by = $2::text, reason = $3::text
WHERE accepted_at IS NULL AND ($1::text IS NULL OR role = $1::text)
