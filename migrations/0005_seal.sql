-- History that can be proven. A seal covers the events of a range of seq, of all classes: their Merkle root, and
-- the hash of the seal before, so that the newest hash stands for the whole history. events/store/seal.h says how the
-- hashes are made. marks finds what was changed (32 bytes an event); the proof is the root.
CREATE TABLE event_seal (
    to_seq    bigint PRIMARY KEY,
    from_seq  bigint NOT NULL CHECK (from_seq > 0 AND from_seq <= to_seq), -- to_seq of the seal before, plus 1
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    newest_at timestamptz,               -- the greatest time of an event up to to_seq: it never falls, so a time is found by it
    leaves    int NOT NULL CHECK (leaves > 0),
    root      bytea NOT NULL CHECK (length(root) = 32),
    prev      bytea NOT NULL CHECK (length(prev) = 32),
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    marks     bytea NOT NULL CHECK (length(marks) = leaves * 32)
);
ALTER TABLE event_seal ALTER COLUMN marks SET COMPRESSION lz4;
CREATE INDEX event_seal_newest_at ON event_seal (newest_at, to_seq);

-- What stands for a body that was erased (a person's right): its row has the body null, and still verifies.
CREATE TABLE event_erased (
    seq       bigint PRIMARY KEY,
    data_hash bytea NOT NULL CHECK (length(data_hash) = 32),
    meta_hash bytea NOT NULL CHECK (length(meta_hash) = 32),
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason    text NOT NULL
);

-- Ranges that are no longer in the event table, per class. Written before the first thing is taken away.
CREATE TABLE event_detached (
    class      smallint NOT NULL,
    from_seq   bigint NOT NULL,
    to_seq     bigint NOT NULL,
    leaf       text NOT NULL,            -- the table that holds them, until somebody drops it
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at    timestamptz,              -- NULL: to be ended by running the command again
    PRIMARY KEY (class, to_seq)
);

INSERT INTO lease (role) VALUES ('keeper'); -- cursor: sealed up to here

CREATE TRIGGER event_seal_no_change BEFORE UPDATE OR DELETE ON event_seal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_seal_no_truncate BEFORE TRUNCATE ON event_seal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_erased_no_change BEFORE UPDATE OR DELETE ON event_erased FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_erased_no_truncate BEFORE TRUNCATE ON event_erased FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What was noted as detached stays so: that it is done is all that may be added.
CREATE FUNCTION detached_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.done_at IS NULL
        AND (NEW.class, NEW.from_seq, NEW.to_seq, NEW.leaf, NEW.started_at)
            IS NOT DISTINCT FROM (OLD.class, OLD.from_seq, OLD.to_seq, OLD.leaf, OLD.started_at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'sagabus: % on % is refused, history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
CREATE TRIGGER event_detached_no_change BEFORE UPDATE OR DELETE ON event_detached FOR EACH ROW EXECUTE FUNCTION detached_refuse_change();
CREATE TRIGGER event_detached_no_truncate BEFORE TRUNCATE ON event_detached FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The one change that is let through: a body goes whose hashes are kept, and nothing else differs.
CREATE FUNCTION event_refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.data = 'null'::bytea AND NEW.meta IS NULL
        AND (NEW.seq, NEW.stream_no, NEW.at, NEW.version, NEW.type_no, NEW.class, NEW.id)
            IS NOT DISTINCT FROM (OLD.seq, OLD.stream_no, OLD.at, OLD.version, OLD.type_no, OLD.class, OLD.id)
        AND EXISTS (SELECT FROM sagabus.event_erased x WHERE x.seq = OLD.seq AND x.data_hash = sha256(OLD.data)
            AND x.meta_hash = sha256(coalesce(OLD.meta, '')))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'sagabus: % on % is refused, history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
DROP TRIGGER event_no_change ON event;
CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_refuse_change();
