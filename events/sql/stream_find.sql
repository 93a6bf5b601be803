-- A stream and the range of seq it lives in. Leans on the unique index of (category, key).
SELECT stream_no, version, first_version, first_seq, last_seq FROM sagabus.stream
WHERE category = $1::text AND key = $2::text AND version > 0
