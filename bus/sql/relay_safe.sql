-- The safe sequence number as the sequencer committed it, and who this store is. Leans on the primary keys.
SELECT l.cursor, s.incarnation FROM sagabus.lease l, sagabus.store s WHERE l.role = 'sequencer' AND s.id = 1
