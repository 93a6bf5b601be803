-- Publishes up to $3 when every number after $2 has its event, of all of which it is known that they are on disk: by a
-- commit that does not wait for it, unless a standby has to have them (docs/adr/0008). One statement, and so one
-- snapshot. Nothing is written when a number has no event. Leans on the leaves' primary keys; the session keeps it
-- from scanning them, for its plan is made when they are small, and stays.
SELECT s.whole,
    CASE WHEN s.whole AND current_setting('synchronous_standby_names') = '' THEN set_config('synchronous_commit', 'off', true) END,
    CASE WHEN s.whole THEN sagabus.lease_advance('sequencer', $1::bigint, $3::bigint, NULL, NULL, NULL) END
FROM (SELECT count(*) = $3::bigint - $2::bigint AS whole FROM sagabus.event e WHERE e.seq > $2::bigint AND e.seq <= $3::bigint) s
