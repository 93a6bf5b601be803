-- What a push subscription came to since the last time; in the transaction of its lease.
UPDATE sagabus.push SET problem = $2::text, delivered = delivered + $3::bigint, failures = failures + $4::bigint,
    dead = dead + $5::bigint, delivered_at = CASE WHEN $3::bigint > 0 THEN clock_timestamp() ELSE delivered_at END
WHERE name = $1::text
