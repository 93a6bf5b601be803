INSERT INTO dead_letter (subscription, topic, partition, record_offset, incarnation, seq, event_id, source, type, key,
                         header_names, header_values, value, record_time, reason, error, fingerprint, attempts,
                         first_failed_at, held, due_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
