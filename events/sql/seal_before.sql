-- Up to where every event is older than $1, as far as seals tell. Leans on event_seal_newest_at.
SELECT to_seq FROM sagabus.event_seal WHERE newest_at < $1::timestamptz ORDER BY newest_at DESC, to_seq DESC LIMIT 1
