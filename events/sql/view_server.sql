-- Which server, since when it runs, and which database a connection leads to, as one text.
SELECT extract(epoch FROM pg_postmaster_start_time()) || '/' || current_database()
