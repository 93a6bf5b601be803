-- Names and versions of the event types numbered above $1. Leans on the primary key.
SELECT type_no, name, version FROM sagabus.event_type WHERE type_no > $1::int ORDER BY type_no
