-- Claims table names for a view; returns those that are another view's.
WITH wanted AS (SELECT unnest($2::text[]) AS table_name), claimed AS (
    INSERT INTO sagabus.view_table (table_name, view) SELECT table_name, $1::text FROM wanted
    ON CONFLICT (table_name) DO NOTHING
)
SELECT t.table_name, t.view FROM sagabus.view_table t JOIN wanted w ON w.table_name = t.table_name
WHERE t.view <> $1::text
