-- Open sagas that their shard's owner cannot drive.
UPDATE sagabus.saga SET attention = true, error = 'the saga cannot be driven: unknown definition or events that do not fold'
WHERE no = ANY ($1::bigint[])
