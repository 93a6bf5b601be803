-- The last sequence number that was drawn; 0 when none was. All that an idle sequencer looks at.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM sagabus.event_seq
