-- Between which numbers a read of many streams may go: what is at or below the first was detached ($1: only domain
-- events are read), above the second something may still appear.
SELECT (SELECT coalesce(max(d.to_seq), 0) FROM sagabus.event_detached d WHERE d.class = 1 OR NOT $1::boolean),
       (SELECT l.cursor FROM sagabus.lease l WHERE l.role = 'sequencer')
