-- The number of the newest stream.
SELECT coalesce(max(stream_no), 0) FROM sagabus.stream
