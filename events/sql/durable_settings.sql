-- Whether what is committed is on disk, and whole after a crash.
SELECT current_setting('fsync')::boolean, current_setting('full_page_writes')::boolean
