INSERT INTO sagabus.view_parked (view, generation, table_name, key, first_seq, event_type, error)
SELECT $1::text, $2::bigint, p.table_name, p.key, p.first_seq, p.event_type, p.error
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
    AS p (table_name, key, first_seq, event_type, error)
