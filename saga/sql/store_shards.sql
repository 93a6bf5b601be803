-- How many shards there are, and PostgreSQL's clock.
SELECT shard_count, clock_timestamp() FROM sagabus.store WHERE id = 1
