-- Tables that look like a generation of this view's tables and are none: a replay that did not end made them. One that
-- people still see is not among them: a version that leaves a table out leaves its SQL view as it was.
SELECT c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN sagabus.view_table t ON t.view = $1::text
WHERE n.nspname = 'sagabus_view' AND c.relkind = 'r'
  AND starts_with(c.relname::text, t.table_name || '_g')
  AND substring(c.relname::text FROM length(t.table_name) + 3) ~ '^[1-9][0-9]{0,17}$'
  AND NOT EXISTS (SELECT FROM sagabus.view_generation g WHERE g.view = t.view
                  AND g.generation = substring(c.relname::text FROM length(t.table_name) + 3)::bigint)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass
                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
