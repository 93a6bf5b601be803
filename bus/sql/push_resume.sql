UPDATE sagabus.push SET paused_at = NULL, paused_by = NULL, paused_reason = NULL WHERE name = $1::text
