-- One dead letter, and its body as bytes.
SELECT jsonb_build_object(
    'no', no, 'subscription', subscription, 'topic', topic, 'partition', partition, 'offset', record_offset,
    'seq', seq, 'id', event_id, 'source', source, 'type', type, 'key', encode(key, 'escape'), 'reason', reason,
    'error', error, 'fingerprint', fingerprint, 'attempts', attempts, 'first_failed_at', first_failed_at,
    'held', held, 'due_at', due_at, 'edited', edited, 'ended', ended, 'ended_at', ended_at,
    'ended_reason', ended_reason,
    'headers', (SELECT coalesce(jsonb_object_agg(h.name, encode(h.value, 'escape')), '{}')
                FROM unnest(header_names, header_values) AS h (name, value)))::text,
    value
FROM dead_letter WHERE no = $1
