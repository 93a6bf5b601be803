-- Events of a batch, in order. Those of a new saga (fresh) only when its row went in: a start that lost the race for
-- its key writes nothing. The look-up is a scalar sub-select so that it cannot turn into a scan of the table.
-- Numbers are drawn in the order of the arrays: that of ordinality is known, nothing is sorted.
-- The answer: the first and the last number drawn, and how many.
WITH written AS (
    INSERT INTO sagabus.event (stream_no, at, version, type_no, class, id, meta, data)
    SELECT e.stream_no, e.at, e.version, e.type_no, 2, e.id, e.meta, e.data
    FROM unnest($1::bigint[], $2::timestamptz[], $3::int[], $4::int[], $5::uuid[], $6::bytea[], $7::bytea[], $8::boolean[])
        WITH ORDINALITY AS e (stream_no, at, version, type_no, id, meta, data, fresh, place)
    WHERE NOT e.fresh OR (SELECT true FROM sagabus.saga s WHERE s.no = e.stream_no)
    ORDER BY e.place
    RETURNING seq
)
SELECT min(seq), max(seq), count(*) FROM written
