-- The next dead letter of a held key, as sub_dead_due has one of its own. Leans on dead_letter_held.
SELECT no, topic, partition, record_offset, key, header_names, header_values, value, record_time, attempts, type, source,
       event_id, reason
FROM dead_letter
WHERE subscription = $1 AND topic = $2 AND key = $3 AND held AND ended IS NULL AND no > $4
ORDER BY no LIMIT 1
