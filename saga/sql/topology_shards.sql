SELECT shard_count FROM sagabus.store WHERE id = 1
