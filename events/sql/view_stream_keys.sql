-- Keys of some streams.
SELECT stream_no, key FROM sagabus.stream WHERE stream_no = ANY ($1::bigint[])
