-- Where these streams begin from now on: at their first event above $3, or after their last one. Leans on (stream_no,
-- version) of the leaves that stay.
UPDATE sagabus.stream s
SET first_version = coalesce(e.version, t.version + 1), first_seq = coalesce(e.seq, 0)
FROM sagabus.stream t
LEFT JOIN LATERAL (
    SELECT v.version, v.seq FROM sagabus.event v
    WHERE v.class = 1 AND v.stream_no = t.stream_no AND v.seq > $3::bigint ORDER BY v.version LIMIT 1) e ON true
WHERE s.stream_no = t.stream_no AND t.stream_no BETWEEN $1::bigint AND $2::bigint AND t.first_seq BETWEEN 1 AND $3::bigint
