-- Up to where something was taken out of the event table, of either class; 0: nothing was.
SELECT coalesce(max(to_seq) FILTER (WHERE class = 1), -1), coalesce(max(to_seq) FILTER (WHERE class = 2), -1)
FROM sagabus.event_detached
