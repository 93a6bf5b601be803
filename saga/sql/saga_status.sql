-- Where sagas stand, by number: for those that wait for the end of sagas that are not in memory here.
SELECT s.no, s.id, s.status, s.ended_at IS NOT NULL
FROM unnest($1::bigint[]) AS u (no)
JOIN sagabus.saga s ON s.no = u.no
