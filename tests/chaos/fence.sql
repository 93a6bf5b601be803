-- Which epoch of a shard's lease each transaction of an orchestrator went under: the checker joins it to the events
-- by the transaction that wrote them.
CREATE SCHEMA chaos;
CREATE TABLE chaos.fence (xid bigint NOT NULL, role text NOT NULL, epoch bigint NOT NULL);
CREATE INDEX ON chaos.fence (xid);
CREATE FUNCTION chaos.note_fence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.fence VALUES (mod(pg_current_xact_id()::text::numeric, 4294967296)::bigint, NEW.role, NEW.epoch);
    RETURN NULL;
END $$;
CREATE TRIGGER note_fence AFTER UPDATE ON sagabus.lease FOR EACH ROW WHEN (NEW.role LIKE 'saga:%')
    EXECUTE FUNCTION chaos.note_fence();
