-- The safe sequence number as the sequencer committed it, who this store is, and the next topic to be filled again (NULL:
-- none). Leans on the primary keys and on the index of open requests.
SELECT l.cursor, s.incarnation, (SELECT min(r.rebuild_no) FROM sagabus.relay_rebuild r WHERE r.ended_at IS NULL)
FROM sagabus.lease l, sagabus.store s WHERE l.role = 'sequencer' AND s.id = 1
