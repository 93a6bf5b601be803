-- Takeover. The UPDATE waits for the old owner's open transaction, then everything is read as it left it.
-- An epoch that was told must not be lost with the server, or two owners would have it: it is on disk whatever the
-- role's default is.
INSERT INTO sagabus.lease AS l (role, owner, epoch) VALUES ($1::text, $2::text, 1)
ON CONFLICT (role) DO UPDATE SET owner = excluded.owner, epoch = l.epoch + 1, beat = clock_timestamp(),
    taken_at = clock_timestamp()
RETURNING epoch, cursor, low, next, detail::text, set_config('synchronous_commit',
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on' ELSE current_setting('synchronous_commit') END, true)
