UPDATE dead_letter SET ended = 'handled', ended_at = clock_timestamp(), due_at = NULL, held = false WHERE no = $1
