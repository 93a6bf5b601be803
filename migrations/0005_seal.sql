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

-- Erases the body and the further attributes of one event; its place in history stays. For the owner alone. What
-- was sent to Kafka, and what views have made of it, is not touched.
CREATE FUNCTION event_erase(p_seq bigint, p_reason text) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO sagabus.event_erased (seq, data_hash, meta_hash, reason)
    SELECT e.seq, sha256(e.data), sha256(coalesce(e.meta, '')), p_reason FROM sagabus.event e WHERE e.seq = p_seq
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false; -- no such event, or erased before
    END IF;
    UPDATE sagabus.event SET data = 'null'::bytea, meta = NULL WHERE seq = p_seq;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION event_erase(bigint, text) FROM PUBLIC;

-- Erases one event by its number (p_seq), or all that a stream has now, in one transaction, and records who and why.
-- outcome: 0 done; 1 there is no such event or stream; 2 it is a saga's, whose events are its state. p_dry: only says what
-- there is to erase. Snapshots of the stream are folded from the bodies and go with them. What lies below first_version was
-- detached and is not reached. For the owner alone.
CREATE FUNCTION event_erase_recorded(p_category text, p_key text, p_seq bigint, p_who text, p_reason text, p_dry boolean,
    OUT outcome int, OUT stream text, OUT first_version int, OUT erased bigint, OUT before bigint) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    no bigint;
    e  record;
BEGIN
    erased := 0;
    before := 0;
    SELECT CASE x.class WHEN 1 THEN 0 ELSE 2 END, x.stream_no INTO outcome, no FROM sagabus.event x WHERE x.seq = p_seq;
    IF p_seq IS NULL THEN
        outcome := 0;
    ELSIF outcome IS DISTINCT FROM 0 THEN
        outcome := coalesce(outcome, 1);
        RETURN;
    END IF;
    SELECT t.stream_no, t.category || '/' || t.key, t.first_version INTO no, stream, first_version FROM sagabus.stream t
    WHERE CASE WHEN p_seq IS NULL THEN t.category = p_category AND t.key = p_key ELSE t.stream_no = no END AND t.version > 0;
    IF NOT FOUND THEN
        outcome := 1;
        RETURN;
    END IF;

    FOR e IN SELECT x.seq, d.seq IS NOT NULL AS gone
        FROM sagabus.stream t JOIN sagabus.event x ON x.class = 1 AND x.stream_no = t.stream_no
            AND x.seq BETWEEN coalesce(p_seq, t.first_seq) AND coalesce(p_seq, t.last_seq)
        LEFT JOIN sagabus.event_erased d ON d.seq = x.seq
        WHERE t.stream_no = no ORDER BY x.version LOOP
        IF e.gone THEN
            before := before + 1;
        ELSIF p_dry OR sagabus.event_erase(e.seq, p_reason) THEN
            erased := erased + 1;
        END IF;
    END LOOP;
    IF NOT p_dry THEN
        DELETE FROM sagabus.snapshot s WHERE s.stream_no = no;
    END IF;
    IF erased > 0 AND NOT p_dry THEN
        INSERT INTO sagabus.audit (who, act, target, reason, detail)
        VALUES (p_who, 'event.erase', stream, p_reason, jsonb_build_object('seq', p_seq, 'events', erased));
    END IF;
END $$;
REVOKE ALL ON FUNCTION event_erase_recorded(text, text, bigint, text, text, boolean) FROM PUBLIC;
