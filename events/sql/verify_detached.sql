-- Up to where something was taken out of the event table; 0: nothing was.
SELECT coalesce(max(to_seq), 0) FROM sagabus.event_detached
