-- Erasing bodies (events/store/erase.h). In one transaction go all copies in this schema: the bodies of events, attached
-- or detached, snapshots folded from them, dead letters of push subscriptions. For the owner alone.

-- A dead letter as it would be of the event without its body and further attributes. source is what CloudEvents asks for.
CREATE FUNCTION dead_letter_erased(INOUT d sagabus.dead_letter) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    d.value := 'null';
    d.source := NULL;
    IF d.error <> '' THEN -- may quote the body
        d.error := 'its event was erased';
        d.fingerprint := d.error;
    END IF;
    SELECT coalesce(array_agg(h.name ORDER BY h.nth), '{}'),
        coalesce(array_agg(CASE h.name WHEN 'ce_source' THEN '/sagabus'::bytea ELSE h.value END ORDER BY h.nth), '{}')
    INTO d.header_names, d.header_values
    FROM unnest(d.header_names, d.header_values) WITH ORDINALITY AS h (name, value, nth)
    WHERE h.name NOT IN ('ce_correlationid', 'ce_causationid', 'ce_partitionkey', 'traceparent');
END $$;

-- A subscription that has read an event before it was erased keeps nothing of it afterwards.
CREATE FUNCTION dead_letter_keep_erased() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM sagabus.event_erased x WHERE x.seq = NEW.seq) THEN
        NEW := sagabus.dead_letter_erased(NEW);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dead_letter_keep_erased BEFORE INSERT ON dead_letter FOR EACH ROW EXECUTE FUNCTION dead_letter_keep_erased();

-- The tables that may hold a domain event: the parent, and detached ranges that nobody has dropped yet.
CREATE FUNCTION event_erase_tables() RETURNS SETOF regclass LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'sagabus.event'::regclass
    UNION ALL
    SELECT c.oid FROM sagabus.event_detached d
    JOIN pg_class c ON c.relnamespace = 'sagabus'::regnamespace AND c.relname = d.leaf
    WHERE d.class = 1 AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT i.inhdetachpending)
$$;
REVOKE ALL ON FUNCTION event_erase_tables() FROM PUBLIC;

-- Takes bodies and further attributes of events of one table; their place in history stays. How many there were.
CREATE FUNCTION event_erase(p_seqs bigint[], p_reason text, p_table regclass DEFAULT 'sagabus.event') RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone bigint[];
BEGIN
    EXECUTE format('WITH gone AS (
            INSERT INTO sagabus.event_erased (seq, data_hash, meta_hash, reason)
            SELECT e.seq, sha256(e.data), sha256(coalesce(e.meta, '''')), $2 FROM %s e WHERE e.class = 1 AND e.seq = ANY ($1)
            ON CONFLICT DO NOTHING RETURNING seq)
        SELECT coalesce(array_agg(seq), ''{}'') FROM gone', p_table) INTO gone USING p_seqs, p_reason;
    EXECUTE format('UPDATE %s SET data = ''null'', meta = NULL WHERE class = 1 AND seq = ANY ($1)', p_table) USING gone;
    RETURN cardinality(gone);
END $$;
REVOKE ALL ON FUNCTION event_erase(bigint[], text, regclass) FROM PUBLIC;

-- Erases one event by its number (p_seq), or all that a stream has now, and records who and why.
-- outcome: 0 done; 1 there is no such event or stream; 2 it is a saga's, whose events are its state. p_dry: only says what
-- there is to erase. views: those that fold events of these types, a JSON array; their rows stay as they are.
CREATE FUNCTION event_erase_recorded(p_category text, p_key text, p_seq bigint, p_who text, p_reason text, p_dry boolean,
    OUT outcome int, OUT stream text, OUT first_version int, OUT erased bigint, OUT before bigint, OUT snapshots bigint,
    OUT dead_letters bigint, OUT views text) LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    no    bigint;
    t     regclass;
    part  record;
    seqs  bigint[] := '{}';
    types int[] := '{}';
BEGIN
    -- No range leaves or comes back meanwhile: a leaf that left between the list of tables and the look into the parent would be
    -- in neither. Appenders go by. A detach that has begun waits here before it ends, and its leaf is in the list.
    LOCK TABLE ONLY sagabus.event_domain IN SHARE UPDATE EXCLUSIVE MODE;
    erased := 0;
    before := 0;
    outcome := CASE WHEN p_seq IS NULL THEN 0 ELSE 1 END;
    FOR t IN SELECT sagabus.event_erase_tables() WHERE p_seq IS NOT NULL LOOP
        EXECUTE format('SELECT CASE class WHEN 1 THEN 0 ELSE 2 END, stream_no FROM %s WHERE seq = $1', t) INTO outcome, no USING p_seq;
        outcome := coalesce(outcome, 1);
        EXIT WHEN no IS NOT NULL;
    END LOOP;
    IF outcome <> 0 THEN
        RETURN;
    END IF;
    SELECT s.stream_no, s.category || '/' || s.key, s.first_version INTO no, stream, first_version FROM sagabus.stream s
    WHERE CASE WHEN p_seq IS NULL THEN s.category = p_category AND s.key = p_key ELSE s.stream_no = no END AND s.version > 0;
    IF NOT FOUND THEN
        outcome := 1;
        RETURN;
    END IF;

    FOR t IN SELECT sagabus.event_erase_tables() LOOP
        EXECUTE format('SELECT array_agg(e.seq) AS seqs, array_agg(DISTINCT e.type_no) AS types, count(x.seq) AS before
            FROM %s e LEFT JOIN sagabus.event_erased x ON x.seq = e.seq
            WHERE e.class = 1 AND e.stream_no = $1 AND ($2 IS NULL OR e.seq = $2)', t)
        INTO part USING no, p_seq;
        CONTINUE WHEN part.seqs IS NULL;
        before := before + part.before;
        seqs := seqs || part.seqs;
        types := types || part.types;
        IF p_dry THEN
            erased := erased + cardinality(part.seqs) - part.before;
        ELSE
            erased := erased + sagabus.event_erase(part.seqs, p_reason, t);
        END IF;
    END LOOP;

    IF p_dry THEN
        SELECT count(*) INTO snapshots FROM sagabus.snapshot s WHERE s.stream_no = no;
        SELECT count(*) INTO dead_letters FROM sagabus.dead_letter d WHERE d.seq = ANY (seqs) AND d.value <> 'null';
    ELSE
        -- Who appends to the stream is waited for before others have to wait. Who writes a snapshot or a dead letter
        -- meanwhile waits, and sees then that it was erased; what was written before is seen here.
        UPDATE sagabus.stream s SET erasures = s.erasures + 1 WHERE s.stream_no = no;
        LOCK TABLE sagabus.snapshot, sagabus.dead_letter IN SHARE ROW EXCLUSIVE MODE;
        DELETE FROM sagabus.snapshot s WHERE s.stream_no = no;
        GET DIAGNOSTICS snapshots = ROW_COUNT;
        UPDATE sagabus.dead_letter d SET (value, source, header_names, header_values, error, fingerprint)
            = (SELECT e.value, e.source, e.header_names, e.header_values, e.error, e.fingerprint FROM sagabus.dead_letter_erased(d) e)
        WHERE d.seq = ANY (seqs) AND d.value <> 'null';
        GET DIAGNOSTICS dead_letters = ROW_COUNT;
    END IF;
    SELECT coalesce(json_agg(v.name ORDER BY v.name)::text, '[]') INTO views FROM (
        SELECT DISTINCT substr(r.role, 6) AS name FROM sagabus.tally_reader r
        WHERE r.role LIKE 'view:%' AND (r.domain IS NULL OR r.domain && ARRAY(
            SELECT y.name FROM sagabus.event_type y WHERE y.type_no = ANY (types)))) v;
    IF erased > 0 AND NOT p_dry THEN
        INSERT INTO sagabus.audit (who, act, target, reason, detail)
        VALUES (p_who, 'event.erase', stream, p_reason, jsonb_build_object('seq', p_seq, 'events', erased));
    END IF;
END $$;
REVOKE ALL ON FUNCTION event_erase_recorded(text, text, bigint, text, text, boolean) FROM PUBLIC;
