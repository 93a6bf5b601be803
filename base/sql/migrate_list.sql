-- Unqualified: the search_path of the transaction names the schema.
SELECT name, hash FROM migration ORDER BY name COLLATE "C"
