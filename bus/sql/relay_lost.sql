-- What the relay remembers of Kafka, and the categories whose topics are asked to be filled again, between
-- blanks. Leans on the primary key and relay_rebuild_open.
SELECT l.detail::text, (SELECT coalesce(string_agg(r.category, ' '), '') FROM sagabus.relay_rebuild r WHERE r.ended_at IS NULL)
FROM sagabus.lease l WHERE l.role = 'relay'
