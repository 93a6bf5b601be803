-- First statement of every transaction of a shard: the fence, and PostgreSQL's clock, which the timers go by.
SELECT sagabus.lease_advance($1::text, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::text::jsonb), clock_timestamp()
