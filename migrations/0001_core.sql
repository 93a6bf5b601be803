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
    kind       text NOT NULL CHECK (kind IN ('event', 'saga', 'view', 'subscription')),
    name       text NOT NULL COLLATE "C",
    version    int NOT NULL CHECK (version > 0),
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    body       bytea NOT NULL,                       -- canonical JSON
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    safe_seq   bigint NOT NULL DEFAULT 0,            -- when it was applied: what begins "now" begins behind it
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
    erasures      int NOT NULL DEFAULT 0,             -- a state folded before the last one is not kept (0012_erase.sql)
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

-- One tick of the sequencer (events/store/sequencer_rule.c states its rule) in one round trip. First the run: events that
-- are there, one after the other, from p_safe on. Then, with p_look and where the run ended early, what was drawn, THEN who
-- holds the insert lock, and what follows from that. Neither of these two is read by a snapshot, and one is read
-- after the other: the rule rests on that. p_previous: drawn when the holders were last looked at; p_known, p_lows: the
-- holders of then. A row a holder, or one without. Nothing is locked and nothing written while safe does not move.
-- Its plans are made when the event table is small, and stay: they must not scan it.
--
-- p_disk: up to there, from p_safe on, all events are known to be on disk. That part of the run is published by a commit
-- that does not wait for the disk, and the rest later; where there is no such part, all of it is by one that waits. A crash takes
-- safe back, but then the same events lead to it again (docs/adr/0008). What was got over by (2) may hold numbers without
-- an event, and has to be on disk.
CREATE FUNCTION sequencer_tick(p_epoch bigint, p_previous bigint, p_safe bigint, p_known text[], p_lows bigint[], p_look bool,
    p_disk bigint)
RETURNS TABLE (drawn bigint, run bigint, safe bigint, looked bool, holder text, pid int) LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    holders text[];
    pids    int[];
    s       bigint;
BEGIN
    drawn := pg_sequence_last_value('sagabus.event_seq'::regclass); -- (1)
    IF drawn IS NULL THEN -- none was, since it was set
        SELECT q.last_value - 1 INTO drawn FROM sagabus.event_seq q;
    END IF;
    run := p_safe;
    IF drawn > p_safe THEN
        FOR s IN SELECT e.seq FROM sagabus.event e WHERE e.seq > p_safe AND e.seq <= p_safe + 256 ORDER BY e.seq LOOP
            EXIT WHEN s <> run + 1;
            run := s;
        END LOOP;
    END IF;
    safe := run;
    looked := p_look AND drawn > run;
    IF looked THEN
        SELECT array_agg(l.virtualtransaction), array_agg(coalesce(l.pid, 0)) INTO holders, pids FROM pg_locks l -- (2)
        WHERE l.locktype = 'relation' AND l.relation = 'sagabus.event'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
        SELECT greatest(run, least(drawn, min(coalesce(k.low, p_previous)))) INTO safe
        FROM unnest(holders) AS h (tx) LEFT JOIN unnest(p_known, p_lows) AS k (tx, low) ON k.tx = h.tx;
    END IF;
    IF safe > p_disk AND p_disk > p_safe AND NOT looked THEN
        safe := p_disk;
    END IF;
    IF safe > p_safe THEN
        IF safe <= least(run, p_disk) AND current_setting('synchronous_standby_names') = '' THEN -- a standby has them not yet
            PERFORM set_config('synchronous_commit', 'off', true);
        END IF;
        PERFORM sagabus.lease_advance('sequencer', p_epoch, safe, NULL, NULL, NULL);
    END IF;
    IF holders IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY SELECT sequencer_tick.drawn, sequencer_tick.run, sequencer_tick.safe, looked, u.h, u.p
        FROM unnest(holders, pids) AS u (h, p);
END $$;

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

-- What became of the last batch of each connection that appends for many callers, so that a commit whose answer was
-- lost is known member by member. The row is a fence, too: whoever asks moves number on, and the batch, should it
-- still be under way, finds no row and is undone. Deleted when the connection closes.
CREATE TABLE append_lane (
    lane       uuid PRIMARY KEY,
    owner      name NOT NULL DEFAULT session_user,  -- whose it is: no other client sees or touches it (0007_roles.sql)
    number     bigint NOT NULL DEFAULT 0,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    answers    int[],           -- outcomes of event_append_many
    versions   int[],
    first_seqs bigint[],
    last_seqs  bigint[]
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE append_lane ALTER COLUMN answers SET COMPRESSION lz4, ALTER COLUMN versions SET COMPRESSION lz4,
    ALTER COLUMN first_seqs SET COMPRESSION lz4, ALTER COLUMN last_seqs SET COMPRESSION lz4;

-- Appends the events of one stream, all or none, in one call. READ COMMITTED: after each wait for a lock the next
-- statement sees what the other wrote. Outcomes: 0 appended; 1 conflict, version is the actual one; 2 the command
-- was carried out before, this is its first answer; 3 the command was another request.
-- expect: 0 any, 1 none, 2 exists, 3 exactly p_version.
--
-- The order is what readers rely on: the stream's row is locked, then the event table, then seq is drawn for each
-- event in turn. So seq rises with the version of every stream, whoever waits for a stream does not hold the lock
-- the sequencer watches, and a conflict draws nothing.
--
-- p_times and p_metas may have fewer elements than there are events: what is missing is NULL.
--
-- Generic plans, because the lengths of the arrays would have each call planned anew. unnest() in the select list:
-- there it gives its elements one by one, in FROM each array would be copied to a store of rows first.
CREATE FUNCTION event_append(p_category text, p_key text, p_expect int, p_version int, p_command uuid, p_hash bytea,
    p_ids uuid[], p_types int[], p_times timestamptz[], p_metas bytea[], p_datas bytea[],
    OUT outcome int, OUT version int, OUT first_seq bigint, OUT last_seq bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    n      int := cardinality(p_ids);
    no     bigint;
    before int;
BEGIN
    -- An answer means that the events are on disk, whatever the role's default is.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- A command is looked up under the lock, and before a stream is made for what may be refused. Whoever finds that
    -- another made the stream meanwhile starts again.
    LOOP
        SELECT t.stream_no, t.version INTO no, before
        FROM sagabus.stream t WHERE t.category = p_category AND t.key = p_key FOR UPDATE;
        IF p_command IS NOT NULL THEN
            SELECT CASE WHEN c.request_hash = p_hash THEN 2 ELSE 3 END, c.version, c.first_seq, c.last_seq
            INTO outcome, version, first_seq, last_seq
            FROM sagabus.append_command c WHERE c.command_id = p_command;
            IF FOUND THEN
                RETURN;
            END IF;
        END IF;
        EXIT WHEN no IS NOT NULL OR NOT (p_expect IN (0, 1) OR (p_expect = 3 AND p_version = 0));
        INSERT INTO sagabus.stream AS t (category, key) VALUES (p_category, p_key)
        ON CONFLICT DO NOTHING RETURNING t.stream_no, t.version INTO no, before;
        EXIT WHEN no IS NOT NULL;
    END LOOP;

    version := coalesce(before, 0);
    IF (p_expect = 1 AND version <> 0) OR (p_expect = 2 AND version = 0) OR (p_expect = 3 AND version <> p_version) THEN
        outcome := 1;
        first_seq := 0;
        last_seq := 0;
        RETURN;
    END IF;

    IF n = 1 AND cardinality(p_datas) = 1 THEN -- an INSERT locks its table before it begins, so before it draws
        INSERT INTO sagabus.event (stream_no, at, version, type_no, class, id, meta, data)
        VALUES (no, coalesce(p_times[1], clock_timestamp()), before + 1, p_types[1], 1, p_ids[1], p_metas[1], p_datas[1])
        RETURNING seq INTO first_seq;
        last_seq := first_seq;
    ELSIF n > 0 THEN -- a body too many has no version: refused
        LOCK TABLE ONLY sagabus.event IN ROW EXCLUSIVE MODE;
        first_seq := nextval('sagabus.event_seq');
        INSERT INTO sagabus.event (seq, stream_no, at, version, type_no, class, id, meta, data)
        SELECT CASE e.nth WHEN 1 THEN event_append.first_seq ELSE nextval('sagabus.event_seq') END, no,
            coalesce(e.at, clock_timestamp()), before + e.nth, e.type_no, 1, e.id, e.meta, e.data
        FROM (SELECT generate_series(1, n) AS nth, unnest(p_ids) AS id, unnest(p_types) AS type_no, unnest(p_times) AS at,
                unnest(p_metas) AS meta, unnest(p_datas) AS data) e;
        last_seq := currval('sagabus.event_seq');
    ELSE
        RAISE EXCEPTION 'append: no events' USING ERRCODE = '22023';
    END IF;

    outcome := 0;
    version := before + n;
    UPDATE sagabus.stream t
    SET version = event_append.version, last_seq = event_append.last_seq,
        first_seq = CASE WHEN t.first_seq = 0 THEN event_append.first_seq ELSE t.first_seq END
    WHERE t.stream_no = no;

    IF p_command IS NOT NULL THEN
        INSERT INTO sagabus.append_command (command_id, stream_no, version, first_seq, last_seq, event_count, request_hash)
        VALUES (p_command, no, version, first_seq, last_seq, n, p_hash) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN -- taken meanwhile, by a request about another stream
            RAISE EXCEPTION 'append: command % was another request', p_command USING ERRCODE = 'SB003';
        END IF;
    END IF;
END $$;

-- Several appends in one call: a row for each, in their order. Outcomes as above, and 4: not done, because another
-- append of an atomic batch was refused. The events of an append lie together, in its order: p_of says whose each
-- is, p_nths the how-manieth, and p_ends, for each append, where its last one lies. No command comes twice.
--
-- Atomic: all or none; repeated only if all are. Else each has an outcome of its own. Several appends of one stream
-- happen in their order: each meets the version that the one before it left.
--
-- The order of event_append holds here too. All streams are locked by one statement, sorted, those that it makes
-- among the others, so that two batches never wait for each other in a ring: to a row that is there, DO UPDATE …
-- WHERE false does nothing but lock it. The next statement reads the versions; what this one read is older than
-- its waits. Should that find a stream which another made meanwhile, it is not locked yet: all is done again.
--
-- Its plans are made when the stream table is small, perhaps empty, and stay: they must not scan it. Arrays whose
-- elements are all NULL may be empty: p_commands, p_hashes, p_times, p_metas.
--
-- p_lane: not NULL, the answers are kept in that row of append_lane as those of batch p_number, so that whoever lost
-- the connection can ask for them.
CREATE FUNCTION event_append_many(p_lane uuid, p_number bigint, p_atomic bool, p_categories text[], p_keys text[], p_expects int[], p_versions int[],
    p_commands uuid[], p_hashes bytea[], p_counts int[], p_ends int[], p_of int[], p_nths int[],
    p_ids uuid[], p_types int[], p_times timestamptz[], p_metas bytea[], p_datas bytea[])
RETURNS TABLE (outcome int, version int, first_seq bigint, last_seq bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    m        int := cardinality(p_keys);
    nos      bigint[];      -- of each append: its stream,
    tids     tid[];         -- where that one's row lies, which is locked and so stays there,
    befores  int[];         -- the version it meets
    afters   int[];         -- and the one it leaves
    outcomes int[];
    firsts   bigint[];
    lasts    bigint[];
    olds     int[];         -- the versions of first answers
    previous int[];         -- the append before it of the same stream
    seqs     bigint[];      -- of each event; NULL: it is not appended
    nths     int[];         -- of the streams, sorted: which append it is
    commands int := 0;
    repeats  int := 0;
    refused  int;
    streams  int;
    locked   int;
    put      int;
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    IF cardinality(p_commands) > 0 THEN
        commands := (SELECT count(*) FROM unnest(p_commands) AS c (command) WHERE c.command IS NOT NULL);
    END IF;

    LOOP
        WITH wanted AS MATERIALIZED (
            SELECT a.category COLLATE "C" AS category, a.key COLLATE "C" AS key, min(a.nth) AS nth
            FROM (SELECT unnest(p_categories) AS category, unnest(p_keys) AS key, unnest(p_expects) AS expect,
                    unnest(p_versions) AS version, generate_series(1, m) AS nth) a
            WHERE a.expect IN (0, 1) OR (a.expect = 3 AND a.version = 0)
                OR (SELECT true FROM sagabus.stream t WHERE t.category = a.category AND t.key = a.key)
            GROUP BY 1, 2 ORDER BY 1, 2
        ), locking AS (
            INSERT INTO sagabus.stream AS s (category, key) SELECT w.category, w.key FROM wanted w
            ON CONFLICT (category, key) DO UPDATE SET version = s.version WHERE false
            RETURNING s.category, s.key, s.stream_no, s.ctid AS tid
        )
        SELECT w.count, w.nths, l.nos, l.tids INTO locked, nths, nos, tids
        FROM (SELECT count(*), array_agg(w.nth) AS nths FROM wanted w) w,
            (SELECT array_agg(l.stream_no ORDER BY l.category, l.key) AS nos, array_agg(l.tid ORDER BY l.category, l.key) AS tids
             FROM locking l) l;

        -- A batch of new streams, as whoever imports has them: nothing is left to read, and nothing to refuse.
        IF cardinality(nos) = m THEN
            SELECT array_agg(a.no), array_agg(a.tid) INTO nos, tids
            FROM (SELECT unnest(nths) AS nth, unnest(nos) AS no, unnest(tids) AS tid ORDER BY 1) a;
            befores := array_fill(0, ARRAY[m]);
            outcomes := befores;
            afters := p_counts;
            refused := 0;
            streams := m;
            EXIT;
        END IF;

        SELECT array_agg(a.no), array_agg(a.tid), array_agg(a.present), array_agg(a.outcome),
            array_agg(a.present + CASE a.outcome WHEN 0 THEN a.n ELSE 0 END), sum(a.outcome), count(DISTINCT a.no)
        INTO nos, tids, befores, outcomes, afters, refused, streams
        FROM (SELECT s.stream_no AS no, s.ctid AS tid, coalesce(s.version, 0) AS present, u.n,
                CASE u.expect WHEN 0 THEN 0 WHEN 1 THEN (s.version <> 0)::int WHEN 2 THEN (coalesce(s.version, 0) = 0)::int
                    ELSE (coalesce(s.version, 0) <> u.version)::int END AS outcome
            FROM (SELECT unnest(p_categories) AS category, unnest(p_keys) AS key, unnest(p_expects) AS expect,
                    unnest(p_versions) AS version, unnest(p_counts) AS n, generate_series(1, m) AS nth) u
            LEFT JOIN sagabus.stream s ON s.category = u.category AND s.key = u.key
            ORDER BY u.nth) a;
        -- Made by another while this waited: it was not there to be locked.
        EXIT WHEN streams <= locked;
    END LOOP;

    -- One after the other only where one bears on another, or may have been done.
    IF commands > 0 OR streams < m THEN
        SELECT array_agg(a.version), array_agg(a.first_seq), array_agg(a.last_seq), array_agg(a.outcome),
            array_agg(a.previous)
        INTO olds, firsts, lasts, outcomes, previous
        FROM (SELECT c.version, c.first_seq, c.last_seq,
                CASE WHEN c.command_id IS NULL THEN NULL WHEN c.request_hash = u.hash THEN 2 ELSE 3 END AS outcome,
                lag(u.nth) OVER (PARTITION BY u.no ORDER BY u.nth) AS previous
            FROM (SELECT unnest(p_commands) AS command, unnest(p_hashes) AS hash, unnest(nos) AS no,
                    generate_series(1, m) AS nth) u
            LEFT JOIN sagabus.append_command c ON c.command_id = u.command
            ORDER BY u.nth) a;
        refused := 0;
        FOR i IN 1..m LOOP
            IF previous[i] IS NOT NULL AND nos[i] IS NOT NULL THEN
                befores[i] := afters[previous[i]];
            END IF;
            afters[i] := befores[i];
            IF outcomes[i] IS NOT NULL THEN
                repeats := repeats + (outcomes[i] = 2)::int;
                refused := refused + 1;
            ELSIF (CASE p_expects[i] WHEN 0 THEN true WHEN 1 THEN befores[i] = 0 WHEN 2 THEN befores[i] > 0
                    ELSE befores[i] = p_versions[i] END) THEN
                outcomes[i] := 0;
                afters[i] := befores[i] + p_counts[i];
            ELSE
                outcomes[i] := 1;
                refused := refused + 1;
            END IF;
        END LOOP;
    END IF;

    IF p_atomic AND refused > 0 THEN
        outcomes := ARRAY(SELECT CASE WHEN u.o = 0 OR (u.o = 2 AND repeats < m) THEN 4 ELSE u.o END
            FROM (SELECT unnest(outcomes) AS o) u);
        refused := m;
    END IF;

    IF refused < m THEN
        LOCK TABLE ONLY sagabus.event IN ROW EXCLUSIVE MODE;
        seqs := ARRAY(SELECT CASE WHEN outcomes[e.of] = 0 THEN nextval('sagabus.event_seq') END
            FROM (SELECT unnest(p_of) AS of) e);
        INSERT INTO sagabus.event (seq, stream_no, at, version, type_no, class, id, meta, data)
        SELECT e.seq, nos[e.of], coalesce(e.at, clock_timestamp()), befores[e.of] + e.nth, e.type_no, 1, e.id, e.meta, e.data
        FROM (SELECT unnest(seqs) AS seq, unnest(p_of) AS of, unnest(p_nths) AS nth, unnest(p_ids) AS id,
                unnest(p_types) AS type_no, unnest(p_times) AS at, unnest(p_metas) AS meta, unnest(p_datas) AS data) e
        WHERE e.seq IS NOT NULL;

        IF commands = 0 AND cardinality(seqs) = m THEN
            firsts := seqs;
            lasts := seqs;
        ELSE
            SELECT array_agg(coalesce(seqs[u.last - u.n + 1], u.old_first)), array_agg(coalesce(seqs[u.last], u.old_last))
            INTO firsts, lasts
            FROM (SELECT unnest(p_ends) AS last, unnest(p_counts) AS n, unnest(firsts) AS old_first,
                    unnest(lasts) AS old_last) u;
        END IF;
        UPDATE sagabus.stream t
        SET version = a.version, last_seq = a.last_seq,
            first_seq = CASE WHEN t.first_seq = 0 THEN a.first_seq ELSE t.first_seq END
        FROM (SELECT u.tid, max(u.after) AS version, min(u.first) AS first_seq, max(u.last) AS last_seq
            FROM (SELECT unnest(tids) AS tid, unnest(afters) AS after, unnest(firsts) AS first, unnest(lasts) AS last,
                    unnest(outcomes) AS outcome) u
            WHERE u.outcome = 0 GROUP BY u.tid) a
        WHERE t.ctid = a.tid;
        IF commands > 0 THEN
            INSERT INTO sagabus.append_command (command_id, stream_no, version, first_seq, last_seq, event_count, request_hash)
            SELECT u.command, u.no, u.after, u.first, u.last, u.n, u.hash
            FROM (SELECT unnest(p_commands) AS command, unnest(nos) AS no, unnest(afters) AS after, unnest(firsts) AS first,
                    unnest(lasts) AS last, unnest(p_counts) AS n, unnest(p_hashes) AS hash, unnest(outcomes) AS outcome) u
            WHERE u.outcome = 0 AND u.command IS NOT NULL ORDER BY u.command
            ON CONFLICT DO NOTHING;
            GET DIAGNOSTICS put = ROW_COUNT;
            IF put < (SELECT count(u.command) FROM (SELECT unnest(p_commands) AS command, unnest(outcomes) AS outcome) u
                    WHERE u.outcome = 0) THEN -- taken meanwhile, by a request about another stream
                RAISE EXCEPTION 'append: a command of the batch was another request' USING ERRCODE = 'SB003';
            END IF;
        END IF;
    END IF;

    IF refused > 0 THEN -- streams that were made for what is not appended
        DELETE FROM sagabus.stream t WHERE t.stream_no = ANY (nos) AND t.version = 0;
        SELECT array_agg(CASE u.outcome WHEN 0 THEN u.after WHEN 2 THEN u.old WHEN 3 THEN u.old ELSE u.before END)
        INTO afters
        FROM (SELECT unnest(outcomes) AS outcome, unnest(befores) AS before, unnest(afters) AS after, unnest(olds) AS old) u;
    END IF;
    IF p_lane IS NOT NULL THEN
        UPDATE sagabus.append_lane l
        SET number = p_number, at = clock_timestamp(), answers = outcomes, versions = afters,
            first_seqs = firsts, last_seqs = lasts
        WHERE l.lane = p_lane AND l.number = p_number - 1 AND l.owner = session_user;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'append: batch % was given up', p_number USING ERRCODE = 'SB002';
        END IF;
    END IF;
    RETURN QUERY SELECT u.outcome, u.version, coalesce(u.first, 0), coalesce(u.last, 0)
        FROM (SELECT unnest(outcomes) AS outcome, unnest(afters) AS version, unnest(firsts) AS first,
                unnest(lasts) AS last) u;
END $$;
