-- The ids of some sagas, NULL for one that is not there. Leans on the primary key, row by row: a join's plan would flip with
-- the statistics.
SELECT u.no, (SELECT g.id FROM sagabus.saga g WHERE g.no = u.no) FROM unnest($1::bigint[]) AS u (no)
