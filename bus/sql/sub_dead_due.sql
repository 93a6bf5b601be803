-- A dead letter of its own that is to be tried again and that nobody is at; $2: only one without a pace.
SELECT no, topic, partition, record_offset, key, header_names, header_values, value, record_time, attempts, type, source,
       event_id, reason, pace_us
FROM dead_letter
WHERE subscription = $1 AND ended IS NULL AND due_at <= clock_timestamp()
    AND (pace_us = 0 OR NOT $2::boolean)
ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
