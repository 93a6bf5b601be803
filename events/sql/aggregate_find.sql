-- Where a stream stands, its newest snapshot of a form up to a version, and what became of a command: always one row.
-- By the unique indexes of all three.
SELECT s.stream_no, s.version, n.version, n.state, c.version, c.first_seq, c.last_seq, c.request_hash, s.erasures
FROM (VALUES (1)) AS one
LEFT JOIN sagabus.stream s ON s.category = $1::text AND s.key = $2::text
LEFT JOIN sagabus.snapshot n
    ON n.stream_no = s.stream_no AND n.aggregate = $3::text AND n.form = $4::int AND n.version <= $5::int
LEFT JOIN sagabus.append_command c ON c.command_id = $6::uuid
