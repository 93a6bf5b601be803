-- The guard of every transaction of a role, and its new cursor. Raises SB001 when the epoch is not ours.
-- Leans on the primary key of sagabus.lease; READ COMMITTED.
SELECT sagabus.lease_advance($1::text, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::jsonb)
