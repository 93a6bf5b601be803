SELECT application_name FROM pg_stat_activity WHERE pid = $1::int
