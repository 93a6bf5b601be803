DELETE FROM dead_letter WHERE no = ANY (ARRAY(
    SELECT no FROM dead_letter WHERE ended IS NOT NULL AND ended_at < now() - interval '30 days' LIMIT 5000))
