-- Who may do what. The owner runs migrations and nothing else; three kinds of role work under it:
--   engine  `sagabus serve`: writes events through the parent, and all that the store keeps beside them; makes view
--           tables. No change of history, no DDL in this schema.
--   client  a service that links the library, or calls event_append itself: reads, appends by that function alone, and
--           keeps snapshots of its aggregates.
--           It cannot draw a sequence number, and so cannot break the order that readers rely on.
--   reader  people and reports: the views, nothing else.
-- docs/guarantees.md lists what each is refused; tests/pg/test_roles.c holds it.
CREATE TABLE access_role (
    role       name PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('engine', 'client', 'reader')),
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A lane of the combiner is its own client's: another that moved its number on would undo that one's appends. The engine
-- has all, since its upkeep deletes what dead processes left. By session_user, which is the same inside event_append_many.
ALTER TABLE append_lane ENABLE ROW LEVEL SECURITY;
CREATE POLICY append_lane_own ON append_lane USING (owner = session_user);
CREATE POLICY append_lane_upkeep ON append_lane USING (EXISTS (SELECT FROM sagabus.access_role a
    JOIN pg_catalog.pg_roles r ON r.rolname = a.role WHERE a.kind = 'engine' AND pg_has_role(current_user, r.oid, 'USAGE')));

-- How long a role that holds locks on the event table may keep them: a stuck appender holds back every reader. What a DBA
-- has set stays. Answers what is left for a superuser to run; NULL: nothing.
CREATE FUNCTION access_limit(p_role name) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    have text[] := coalesce((SELECT setconfig FROM pg_db_role_setting
        WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = p_role)
        AND setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())), '{}');
    statements text[] := ARRAY(SELECT format('ALTER ROLE %I IN DATABASE %I SET %I = %L;', p_role, current_database(), n, v)
        FROM (VALUES ('idle_in_transaction_session_timeout', '5s'), ('lock_timeout', '10s'), ('statement_timeout', '30s')) w (n, v)
        WHERE NOT EXISTS (SELECT FROM unnest(have) h WHERE split_part(h, '=', 1) = n));
    s text;
BEGIN
    FOREACH s IN ARRAY statements LOOP
        EXECUTE s;
    END LOOP;
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN array_to_string(statements, E'\n');
END $$;

CREATE FUNCTION access_grant_engine(p_role name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
    rights text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA sagabus TO %I', p_role);
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA sagabus_view TO %I', p_role);
    FOR t IN SELECT c.relname, c.relispartition FROM pg_class c
        WHERE c.relnamespace = 'sagabus'::regnamespace AND c.relkind IN ('r', 'p') LOOP
        rights := CASE
            WHEN t.relispartition THEN NULL                       -- the sequencer watches the parent's lock
            WHEN t.relname IN ('event', 'event_seal', 'artifact', 'event_type', 'audit') THEN 'SELECT, INSERT'
            WHEN t.relname IN ('event_erased', 'event_detached', 'store', 'migration', 'access_role') THEN 'SELECT'
            WHEN t.relname ~ '^event_(domain|saga)_[0-9]+$' THEN NULL -- a detached range
            ELSE 'SELECT, INSERT, UPDATE, DELETE' END;
        EXECUTE format('REVOKE ALL ON sagabus.%I FROM %I', t.relname, p_role);
        IF rights IS NOT NULL THEN
            EXECUTE format('GRANT %s ON sagabus.%I TO %I', rights, t.relname, p_role);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA sagabus TO %I', p_role);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sagabus TO %I', p_role);
END $$;

CREATE FUNCTION access_grant_client(p_role name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f regprocedure;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA sagabus TO %I', p_role);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA sagabus TO %I', p_role);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON sagabus.snapshot TO %I', p_role); -- its aggregates' states
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON sagabus.append_lane TO %I', p_role); -- of its combiners
    EXECUTE format('REVOKE ALL ON sagabus.api_key, sagabus.audit FROM %I', p_role);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA sagabus FROM %I', p_role);
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'sagabus'::regnamespace AND p.proname LIKE 'event\_append%' LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, p_role);
    END LOOP;
END $$;

CREATE FUNCTION access_grant_reader(p_role name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e name;
    t regclass;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA sagabus_view TO %I', p_role);
    FOR e IN SELECT a.role FROM sagabus.access_role a JOIN pg_roles r ON r.rolname = a.role WHERE a.kind = 'engine' LOOP
        IF NOT pg_has_role(current_user, e, 'USAGE') THEN
            RAISE EXCEPTION 'the views belong to role %, whose rights % has not', e, current_user
                USING ERRCODE = '42501', HINT = format('GRANT %I TO %I', e, current_user);
        END IF;
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA sagabus_view GRANT SELECT ON TABLES TO %I', e, p_role);
    END LOOP;
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA sagabus_view TO %I', p_role);
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'sagabus_view'::regnamespace AND c.relkind = 'r'
        AND c.relname ~ '_carry_g[0-9]+$' LOOP -- what a view carries is its own
        EXECUTE format('REVOKE ALL ON %s FROM %I', t, p_role);
    END LOOP;
END $$;

-- Gives every recorded role its rights anew, and says how many they are, and what a superuser still has to run: at the end of each `sagabus migrate`, which may have made tables and
-- replaced functions. The two functions that work with the owner's rights have a search_path that no caller can set.
CREATE FUNCTION access_grant(OUT roles int, OUT todo text) LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f regprocedure;
    a sagabus.access_role%ROWTYPE;
BEGIN
    roles := 0;
    PERFORM pg_advisory_xact_lock(1935763459, hashtext('sagabus')); -- as a migration: one at a time
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sagabus FROM PUBLIC;
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'sagabus'::regnamespace
        AND (p.proname LIKE 'event\_append%' OR p.proname = 'event_partitions_ahead') AND NOT p.prosecdef LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, pg_temp', f);
    END LOOP;
    FOR a IN SELECT * FROM sagabus.access_role o WHERE EXISTS (SELECT FROM pg_roles r WHERE r.rolname = o.role)
        ORDER BY kind, role LOOP -- engines before readers; a role that was dropped meanwhile, or not made yet, has its turn later
        CASE a.kind
            WHEN 'engine' THEN PERFORM sagabus.access_grant_engine(a.role);
            WHEN 'client' THEN PERFORM sagabus.access_grant_client(a.role);
            ELSE PERFORM sagabus.access_grant_reader(a.role);
        END CASE;
        IF a.kind <> 'reader' THEN
            todo := nullif(concat_ws(E'\n', todo, sagabus.access_limit(a.role)), '');
        END IF;
        FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'sagabus'::regnamespace
            AND (p.proname LIKE 'access\_%' OR p.proname LIKE 'event\_erase%') LOOP
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I', f, a.role);
        END LOOP;
        roles := roles + 1;
    END LOOP;
END $$;

-- Takes every right on the store from a role, also the one on views to come, before it gets those of another kind. What it
-- owns stays its own; so do the views of roles whose rights the caller has not.
CREATE FUNCTION access_revoke(p_role name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o name;
    t regclass;
BEGIN
    FOR o IN SELECT r.rolname FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole
        WHERE d.defaclnamespace = 'sagabus_view'::regnamespace AND d.defaclobjtype = 'r'
            AND pg_has_role(current_user, d.defaclrole, 'USAGE') LOOP
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA sagabus_view REVOKE ALL ON TABLES FROM %I', o, p_role);
    END LOOP;
    FOR t IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'sagabus_view'::regnamespace AND c.relkind IN ('r', 'v')
        AND c.relowner <> p_role::regrole AND pg_has_role(current_user, c.relowner, 'USAGE') LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', t, p_role);
    END LOOP;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA sagabus FROM %I', p_role);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA sagabus FROM %I', p_role);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA sagabus FROM %I', p_role);
    EXECUTE format('REVOKE ALL ON SCHEMA sagabus FROM %I', p_role);
    EXECUTE format('REVOKE ALL ON SCHEMA sagabus_view FROM %I', p_role);
END $$;

-- Takes a role off the list, and all that it was given.
CREATE FUNCTION access_remove(p_role name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM sagabus.access_role a WHERE a.role = p_role;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'role % was given no rights', p_role USING ERRCODE = '42704',
            HINT = 'the roles that were are in sagabus.access_role';
    END IF;
    IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        PERFORM sagabus.access_revoke(p_role);
    END IF;
END $$;

-- Records a role; access_grant gives it its rights.
CREATE FUNCTION access_add(p_role name, p_kind text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = p_role) THEN
        RAISE EXCEPTION 'there is no role %', p_role USING ERRCODE = '42704', HINT = format('CREATE ROLE %I LOGIN', p_role);
    END IF;
    IF EXISTS (SELECT FROM sagabus.access_role a WHERE a.role = p_role AND a.kind <> p_kind) THEN
        PERFORM sagabus.access_revoke(p_role);
    END IF;
    INSERT INTO sagabus.access_role AS a (role, kind) VALUES (p_role, p_kind)
    ON CONFLICT (role) DO UPDATE SET kind = excluded.kind, granted_at = clock_timestamp();
END $$;

SELECT access_grant();
