-- How many other instances have no shard.
SELECT count(*)
FROM pg_locks k
WHERE k.locktype = 'advisory' AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND k.objsubid = 2 AND k.classid = 1935763459 AND k.granted AND k.pid <> pg_backend_pid()
