-- From here on readers are told that the range is gone. Again is fine: a run that was broken off goes on.
INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf)
VALUES ($1::smallint, $2::bigint, $3::bigint, $4::text) ON CONFLICT (class, to_seq) DO NOTHING
