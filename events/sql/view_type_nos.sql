-- Every registered version of some event types.
SELECT type_no, name FROM sagabus.event_type WHERE name = ANY ($1::text[]) ORDER BY type_no
