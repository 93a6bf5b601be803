-- The first reason stays.
UPDATE sagabus.push SET paused_at = coalesce(paused_at, clock_timestamp()), paused_by = coalesce(paused_by, $2::text),
    paused_reason = coalesce(paused_reason, $3::text)
WHERE name = $1::text
