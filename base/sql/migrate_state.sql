-- What is there before we ask for it: CREATE … IF NOT EXISTS wants rights that a plain user of the schema lacks.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text),
       to_regclass(format('%I.migration', $1::text)) IS NOT NULL
