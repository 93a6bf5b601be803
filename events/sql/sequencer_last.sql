-- The last sequence number that was drawn; 0 when none was. First statement of a tick.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM sagabus.event_seq
