-- The store, the registry, and the leases. Everything runs with search_path = sagabus.

-- One row: who this store is. The incarnation rises when a restored or forked database goes live.
CREATE TABLE store (
    id          int PRIMARY KEY CHECK (id = 1),
    store_id    uuid NOT NULL DEFAULT gen_random_uuid(),
    incarnation bigint NOT NULL DEFAULT 1,
    shard_count int NOT NULL DEFAULT 1 CHECK (shard_count BETWEEN 1 AND 4096), -- fixed: a saga's number carries its shard
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO store (id) VALUES (1);

-- Elected roles. Every transaction of a role updates its row first (lease_advance).
CREATE TABLE lease (
    role     text PRIMARY KEY,
    owner    text,
    epoch    bigint NOT NULL DEFAULT 0,
    cursor   bigint NOT NULL DEFAULT 0,  -- sequencer: safe_seq; relay: acknowledged seq; view: folded seq; saga shard: next reply offset
    low      bigint NOT NULL DEFAULT 0,  -- saga shard: number of the oldest open saga
    next     bigint NOT NULL DEFAULT 1,  -- saga shard: next saga number; view: generation
    detail   jsonb NOT NULL DEFAULT '{}',
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO lease (role) VALUES ('sequencer'), ('relay');

-- A late transaction of a replaced owner finds no row with its epoch and aborts: that is the fence.
CREATE FUNCTION lease_advance(p_role text, p_epoch bigint, p_cursor bigint, p_low bigint, p_next bigint, p_detail jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sagabus.lease
    SET cursor = coalesce(p_cursor, cursor), low = coalesce(p_low, low), next = coalesce(p_next, next),
        detail = coalesce(p_detail, detail), beat = clock_timestamp()
    WHERE role = p_role AND epoch = p_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'lease %: epoch % is not in force, a newer instance took over', p_role, p_epoch
            USING ERRCODE = 'SB001';
    END IF;
END $$;

-- Registry: schemas, saga definitions and views, by canonical hash. A version is never edited once registered.
CREATE TABLE artifact (
    kind       text NOT NULL CHECK (kind IN ('event', 'saga', 'view')),
    name       text NOT NULL COLLATE "C",
    version    int NOT NULL CHECK (version > 0),
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    body       bytea NOT NULL,                       -- canonical JSON
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (kind, name, version)
);
CREATE INDEX artifact_hash ON artifact (kind, hash);

-- Small numbers for (type, schema version); rows never change, so clients cache them.
CREATE TABLE event_type (
    type_no int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    text NOT NULL COLLATE "C",
    version int NOT NULL CHECK (version > 0),
    UNIQUE (name, version)
);

-- The point of optimistic concurrency of domain streams. Saga streams have no row here: the shard's lease
-- orders their writers.
CREATE TABLE stream (
    stream_no     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category      text NOT NULL COLLATE "C",
    key           text NOT NULL COLLATE "C",
    version       int NOT NULL DEFAULT 0,
    first_version int NOT NULL DEFAULT 1,             -- older ones were detached
    first_seq     bigint NOT NULL DEFAULT 0,          -- the range of seq it lives in, for partition pruning
    last_seq      bigint NOT NULL DEFAULT 0,
    UNIQUE (category, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

CREATE SEQUENCE event_seq CACHE 1;

-- The log. Insert-only, written through this parent only (the sequencer watches its lock); partitioned by
-- class (1 domain, 2 saga), then by range of seq. Eight-byte columns first.
CREATE TABLE event (
    seq       bigint NOT NULL DEFAULT nextval('sagabus.event_seq'),
    stream_no bigint NOT NULL,                        -- stream.stream_no, or the saga's number
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    version   int NOT NULL CHECK (version > 0),       -- position in the stream, from 1 without holes
    type_no   int NOT NULL,
    class     smallint NOT NULL,
    id        uuid NOT NULL,                          -- the CloudEvents id: stored, not indexed
    meta      bytea,                                  -- JSON object of further CloudEvents attributes
    data      bytea NOT NULL,                         -- the body, as given
    PRIMARY KEY (seq, class)                          -- seq first: a read of all classes comes in its order
) PARTITION BY LIST (class);
CREATE TABLE event_domain PARTITION OF event FOR VALUES IN (1) PARTITION BY RANGE (seq);
CREATE TABLE event_saga PARTITION OF event FOR VALUES IN (2) PARTITION BY RANGE (seq);

-- History does not change, not even by its owner's hand.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'sagabus: % on % is refused, history is append-only', TG_OP, TG_TABLE_NAME USING ERRCODE = '42501';
END $$;
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event_domain FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event_saga FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Makes the leaf partitions that cover the next ahead values of seq, in ranges of width. Returns how many.
-- A leaf is made apart and then attached: that leaves appenders alone, where CREATE … PARTITION OF would wait for
-- each of them, and all others for it.
CREATE FUNCTION event_partitions_ahead(ahead bigint, width bigint DEFAULT 20000000) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    low    bigint;
    leaf   text;
    target bigint := (SELECT last_value FROM sagabus.event_seq) + ahead;
    made   int := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['event_domain', 'event_saga'] LOOP
        SELECT coalesce(max(substring(c.relname FROM '_([0-9]+)$')::bigint), 0) INTO low
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = ('sagabus.' || parent)::regclass;
        -- leaves are named by their upper bound, so the next one starts where the newest ends
        WHILE low <= target LOOP
            leaf := parent || '_' || (low + width);
            EXECUTE format('CREATE TABLE sagabus.%I (LIKE sagabus.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS) '
                'WITH (fillfactor = 100, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0, '
                'toast_tuple_target = 4080)', leaf, parent);
            EXECUTE format('ALTER TABLE sagabus.%I ALTER COLUMN data SET COMPRESSION lz4', leaf);
            EXECUTE format('CREATE UNIQUE INDEX ON sagabus.%I (stream_no, version)', leaf);
            EXECUTE format('CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON sagabus.%I '
                'FOR EACH STATEMENT EXECUTE FUNCTION sagabus.refuse_change()', leaf);
            EXECUTE format('ALTER TABLE sagabus.%I ATTACH PARTITION sagabus.%I FOR VALUES FROM (%s) TO (%s)',
                parent, leaf, low, low + width);
            low := low + width;
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;
SELECT event_partitions_ahead(1000000);

-- What makes an append idempotent: the first answer, kept 7 days.
CREATE TABLE append_command (
    command_id uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    stream_no  bigint NOT NULL,
    version    int NOT NULL,        -- of the stream after the append
    first_seq  bigint NOT NULL,
    last_seq   bigint NOT NULL,
    event_count int NOT NULL,
    request_hash bytea              -- of what was asked: the same id with other content is refused
) WITH (autovacuum_vacuum_scale_factor = 0.05); -- deleted as fast as it is written
CREATE INDEX append_command_at ON append_command (at);

-- Appends the events of one stream, all or none, in one call. READ COMMITTED: after each wait for a lock the next
-- statement sees what the other wrote. Outcomes: 0 appended; 1 conflict, version is the actual one; 2 the command
-- was carried out before, this is its first answer; 3 the command was another request.
-- expect: 0 any, 1 none, 2 exists, 3 exactly p_version.
--
-- The order is what readers rely on: the stream's row is locked, then the INSERT locks the event table, then seq
-- is drawn for each event in turn. So seq rises with the version of every stream, whoever waits for a stream does
-- not hold the lock the sequencer watches, and a conflict draws nothing.
CREATE FUNCTION event_append(p_category text, p_key text, p_expect int, p_version int, p_command uuid, p_hash bytea,
    p_ids uuid[], p_types int[], p_times timestamptz[], p_metas bytea[], p_datas bytea[],
    OUT outcome int, OUT version int, OUT first_seq bigint, OUT last_seq bigint)
LANGUAGE plpgsql AS $$
DECLARE
    s    sagabus.stream%ROWTYPE;
    done sagabus.append_command%ROWTYPE;
BEGIN
    -- An answer means that the events are on disk, whatever the role's default is.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    SELECT * INTO s FROM sagabus.stream t WHERE t.category = p_category AND t.key = p_key FOR UPDATE;
    IF s.stream_no IS NULL AND (p_expect IN (0, 1) OR (p_expect = 3 AND p_version = 0)) THEN
        INSERT INTO sagabus.stream AS t (category, key) VALUES (p_category, p_key) ON CONFLICT DO NOTHING RETURNING t.* INTO s;
        IF s.stream_no IS NULL THEN
            SELECT * INTO s FROM sagabus.stream t WHERE t.category = p_category AND t.key = p_key FOR UPDATE;
        END IF;
    END IF;
    version := coalesce(s.version, 0);
    first_seq := 0;
    last_seq := 0;

    IF p_command IS NOT NULL THEN
        SELECT * INTO done FROM sagabus.append_command c WHERE c.command_id = p_command;
        IF FOUND THEN
            outcome := CASE WHEN done.request_hash = p_hash THEN 2 ELSE 3 END;
            version := done.version;
            first_seq := done.first_seq;
            last_seq := done.last_seq;
            RETURN;
        END IF;
    END IF;

    IF (p_expect = 1 AND version <> 0) OR (p_expect = 2 AND version = 0) OR (p_expect = 3 AND version <> p_version) THEN
        outcome := 1;
        RETURN;
    END IF;

    WITH put AS (
        INSERT INTO sagabus.event (stream_no, at, version, type_no, class, id, meta, data)
        SELECT s.stream_no, coalesce(e.at, clock_timestamp()), s.version + e.nth::int, e.type_no, 1, e.id, e.meta, e.data
        FROM unnest(p_ids, p_types, p_times, p_metas, p_datas) WITH ORDINALITY AS e (id, type_no, at, meta, data, nth)
        ORDER BY e.nth
        RETURNING seq)
    SELECT min(put.seq), max(put.seq) INTO first_seq, last_seq FROM put;

    outcome := 0;
    version := s.version + cardinality(p_ids);
    UPDATE sagabus.stream t
    SET version = event_append.version, last_seq = event_append.last_seq,
        first_seq = CASE WHEN t.first_seq = 0 THEN event_append.first_seq ELSE t.first_seq END
    WHERE t.stream_no = s.stream_no;

    IF p_command IS NOT NULL THEN
        INSERT INTO sagabus.append_command (command_id, stream_no, version, first_seq, last_seq, event_count, request_hash)
        VALUES (p_command, s.stream_no, version, first_seq, last_seq, cardinality(p_ids), p_hash) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN -- taken meanwhile, by a request about another stream
            RAISE EXCEPTION 'append: command % was another request', p_command USING ERRCODE = 'SB003';
        END IF;
    END IF;
END $$;
