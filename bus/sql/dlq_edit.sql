UPDATE dead_letter SET value = $3, edited = true WHERE subscription = $1 AND no = $2 AND ended IS NULL
