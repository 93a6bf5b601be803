-- Names of a row that is gone: its stream ($1 number, $2 class) and its type.
SELECT CASE WHEN $2::int = 1 THEN (SELECT category || '/' || key FROM sagabus.stream WHERE stream_no = $1::bigint)
            ELSE 'saga ' || $1::bigint END,
       (SELECT name FROM sagabus.event_type WHERE type_no = $3::int)
