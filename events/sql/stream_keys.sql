-- The keys of some streams, for a page of events of many. Leans on the primary key.
SELECT stream_no, key FROM sagabus.stream WHERE stream_no = ANY ($1::bigint[])
