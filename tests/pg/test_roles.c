/* Who may do what: the owner migrates, the engine works, a client appends, a reader reads views. None of them
 * but the owner is a superuser's friend, and not even the owner is a superuser here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/migrate.h"
#include "events/store/access.h"
#include "events/store/durable.h"
#include "events/store/erase.h"
#include "events/store/sequencer.h"
#include "events/store/verify.h"
#include "events/view/view.h"
#include "migrations/list.h"
#include "sagabus/store.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *super;
    sb_pg_t *owner, *engine, *client, *reader;
    char owner_uri[SB_TEST_URI], engine_uri[SB_TEST_URI], client_uri[SB_TEST_URI], reader_uri[SB_TEST_URI];
    sb_sequencer_t *sequencer;
    pthread_t thread;
    sb_progress_t progress;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static sb_pg_t *open_as(fixture_t *f, const char *role, char uri[SB_TEST_URI])
{
    const char *user = strstr(f->uri, "user=");
    assert_non_null(user);
    const char *rest = strchr(user, ' ');
    (void)snprintf(uri, SB_TEST_URI, "%.*suser=%s%s", (int)(user - f->uri), f->uri, role, rest ? rest : "");
    return sb_test_pg_open(uri);
}

static int setup(void **state)
{
    if (getenv("SB_TEST_PG_URI")) {
        print_message("skipped: roles are made in a server of our own only\n");
        skip();
    }
    fixture = (fixture_t){.super = NULL};
    fixture_t *f = &fixture;
    f->super = sb_test_pg_open(sb_test_pg_empty(f->uri));
    sb_test_pg_script(
        f->super,
        "DO $$ BEGIN CREATE ROLE t_owner LOGIN CREATEROLE; CREATE ROLE t_engine LOGIN; CREATE ROLE t_client "
        "LOGIN; CREATE ROLE t_reader LOGIN; GRANT t_engine TO t_owner; EXCEPTION WHEN duplicate_object THEN "
        "NULL; END $$; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO t_owner', "
        "current_database()); EXECUTE format('ALTER ROLE t_client IN DATABASE %I SET "
        "idle_in_transaction_session_timeout = ''4000ms''', current_database()); END $$");
    f->owner = open_as(f, "t_owner", f->owner_uri);
    assert_ok(sb_migrate(f->owner, SB_SCHEMA, sb_migrations, NULL, &f->err), &f->err);
    assert_ok(sb_access_add(f->owner, "t_engine", "engine", &f->err), &f->err);
    assert_ok(sb_access_add(f->owner, "t_client", "client", &f->err), &f->err);
    assert_ok(sb_access_add(f->owner, "t_reader", "reader", &f->err), &f->err);
    int count = 0;
    sb_buf_t todo = SB_BUF_INIT;
    assert_ok(sb_access_grant(f->owner, &count, &todo, &f->err), &f->err);
    assert_int_equal(count, 3);
    assert_int_equal(todo.len, 0);
    assert_ok(sb_access_grant(f->owner, &count, NULL, &f->err), &f->err); /* again is fine */
    f->engine = open_as(f, "t_engine", f->engine_uri);
    f->client = open_as(f, "t_client", f->client_uri);
    f->reader = open_as(f, "t_reader", f->reader_uri);
    *state = f;
    return 0;
}

static void stop_sequencer(fixture_t *f)
{
    if (!f->sequencer)
        return;
    sb_sequencer_stop(f->sequencer);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    sb_sequencer_close(&f->sequencer);
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    stop_sequencer(f);
    sb_pg_close(&f->reader);
    sb_pg_close(&f->client);
    sb_pg_close(&f->engine);
    sb_pg_close(&f->owner);
    sb_pg_close(&f->super);
    return 0;
}

static void *run(void *context)
{
    sb_sequencer_run(context);
    return NULL;
}

static void start_sequencer(fixture_t *f)
{
    sb_progress_init(&f->progress);
    sb_sequencer_config_t config = {
        .pg_uri = f->engine_uri, .owner = "one", .progress = &f->progress, .seal_ms = 1};
    assert_ok(sb_sequencer_open(&f->sequencer, &config, &f->err), &f->err);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f->sequencer), 0);
}

static void assert_refused(sb_pg_t *pg, const char *const *statements)
{
    for (; *statements; statements++) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = sb_pg_script(pg, *statements, &err);
        if (code != SB_DENIED)
            fail_msg("%s: gave %s, %s", *statements, sb_code_name(code), err.message);
    }
}

#define APPEND                                                                                               \
    "SELECT sagabus.event_append('order', 'o-1', 0, 0, NULL, NULL, ARRAY[gen_random_uuid()], ARRAY[1], "     \
    "ARRAY[NULL::timestamptz], ARRAY[NULL::bytea], ARRAY['{}'::bytea])"

/* ---- what they can ---- */

static void make_history(fixture_t *f, sb_catalog_t *catalog)
{
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};
    sb_apply_report_t applied;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = f->client_uri};
    static const char body[] =
        "{\"order_id\":\"o-1\",\"customer_id\":\"c-1\",\"currency\":\"EUR\",\"amount\":100,"
        "\"items\":[{\"sku\":\"s\",\"quantity\":1,\"price\":100}]}";
    sb_event_t event = {.type = SB_SLICE("order.created"), .data = sb_slice(body)};
    sb_append_t append = {
        .category = SB_SLICE("order"), .key = SB_SLICE("o-1"), .events = &event, .count = 1};
    sb_append_result_t result;
    assert_ok(sb_catalog_apply(catalog, f->engine, SB_TEST_SCHEMAS, checks, &applied, &f->err), &f->err);
    assert_ok(sb_store_open(&store, &config, &f->err), &f->err);
    assert_ok(sb_store_append(store, &append, &result, &f->err), &f->err);
    sb_store_close(&store);
    sb_test_pg_script(f->client, "INSERT INTO sagabus.snapshot (stream_no, aggregate, form, version, state) "
                                 "VALUES (1, 'a', 1, 1, '')");
    sb_test_pg_script(
        f->engine,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) VALUES (5, 1, 1, "
        "2, gen_random_uuid(), '{}')"); /* as the orchestrator does */
}

/* The owner alone, and the seals still prove what is left; a view is rebuilt from it without the body. */
static void erase_history(fixture_t *f, sb_catalog_t *catalog)
{
    sb_erase_t erase = {.reason = "asked for"};
    sb_erase_report_t erased;
    sb_verify_report_t report;
    sb_replay_report_t replayed;
    sb_verify_config_t verify = {.pg = f->engine, .to = 1000000};
    sb_replay_config_t config = {
        .pg_uri = f->engine_uri, .owner = "one", .catalog = catalog, .view = "order_summary"};
    assert_ok(sb_erase_parse("order/o-1", &erase, &f->err), &f->err);
    assert_code(SB_DENIED, sb_erase_run(f->engine, &erase, &erased, &f->err), &f->err);
    assert_contains(f->err.message, "for the owner of the database alone");
    assert_code(SB_DENIED, sb_erase_run(f->client, &erase, &erased, &f->err), &f->err);
    assert_ok(sb_erase_run(f->owner, &erase, &erased, &f->err), &f->err);
    assert_string_equal(erased.stream, "order/o-1");
    assert_int_equal(erased.erased, 1);
    assert_int_equal(erased.snapshots, 1);
    assert_int_equal(sb_test_pg_int(f->owner, "SELECT count(*) FROM sagabus.snapshot"), 0);
    assert_int_equal(sb_test_pg_int(f->owner, "SELECT count(*) FROM sagabus.audit WHERE act = 'event.erase' "
                                              "AND who = 'db:t_owner' AND target = 'order/o-1'"),
                     1);
    assert_ok(sb_erase_run(f->owner, &erase, &erased, &f->err), &f->err); /* again is fine */
    assert_int_equal(erased.erased, 0);
    assert_int_equal(erased.before, 1);
    assert_int_equal(sb_test_pg_int(f->owner, "SELECT count(*) FROM sagabus.audit"), 1);
    assert_ok(sb_verify_run(&verify, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_NONE);
    assert_int_equal(report.erased, 1);
    assert_ok(sb_replay_run(&config, &replayed, &f->err), &f->err);
    assert_int_equal(replayed.rows, 1);
    assert_int_equal(replayed.parked, 0);
    erase.dry_run = true;
    assert_ok(sb_erase_run(f->owner, &erase, &erased, &f->err), &f->err);
    assert_string_equal(erased.views, "[\"customer_orders\", \"order_summary\"]");
}

static void the_store_works_under_its_roles(void **state)
{
    fixture_t *f = *state;
    sb_catalog_t *catalog = NULL;
    sb_replay_report_t replayed;
    assert_ok(sb_catalog_new(&catalog, &f->err), &f->err);
    make_history(f, catalog);
    sb_test_pg_script(f->super, "SELECT setval('sagabus.event_seq', 19999999)");
    start_sequencer(f);
    /* a partition is made by the engine and is the owner's */
    assert_soon(sb_test_pg_int(f->super,
                               "SELECT count(*) FROM pg_class WHERE relname = 'event_domain_40000000' AND "
                               "relowner = 't_owner'::regrole") == 1,
                10000);
    sb_test_pg_script(f->client, APPEND "; " APPEND);
    assert_soon(sb_test_pg_int(f->engine, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'") ==
                    20000001,
                10000);
    assert_soon(sb_test_pg_int(f->engine, "SELECT coalesce(max(to_seq), 0) FROM sagabus.event_seal") ==
                    20000001,
                10000);
    sb_replay_config_t config = {
        .pg_uri = f->engine_uri, .owner = "one", .catalog = catalog, .view = "order_summary"};
    sb_test_pg_script(
        f->super, "SET session_replication_role = replica; DELETE FROM sagabus.event WHERE seq >= 20000000;"
                  "RESET session_replication_role"); /* their bodies are no orders */
    assert_ok(sb_replay_run(&config, &replayed, &f->err), &f->err);
    assert_int_equal(replayed.rows, 1);
    assert_int_equal(sb_test_pg_int(f->reader, "SELECT count(*) FROM sagabus_view.order_summary"), 1);
    config.view = "customer_orders";
    assert_ok(sb_replay_run(&config, &replayed, &f->err), &f->err);
    (void)sb_test_pg_int(f->reader, "SELECT count(*) FROM sagabus_view.customer_orders");
    static const char *const carried[] = {"SELECT * FROM sagabus_view.customer_orders_carry_g2", NULL};
    assert_refused(f->reader, carried);
    int roles = 0;
    sb_buf_t todo = SB_BUF_INIT;
    assert_ok(sb_access_grant(f->owner, &roles, &todo, &f->err),
              &f->err); /* a later migrate gives it no more */
    sb_buf_fini(&todo);
    assert_refused(f->reader, carried);
    sb_verify_report_t report;
    sb_verify_config_t verify = {.pg = f->engine, .to = 1000000};
    assert_ok(sb_verify_run(&verify, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_NONE);
    assert_int_equal(report.events, 2);
    erase_history(f, catalog);
    sb_catalog_free(&catalog);
}

/* A search_path of the caller's must not decide which function the owner's rights run. */
static void a_callers_search_path_is_not_followed(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->super,
        "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; CREATE TABLE trap.sprung (a int); CREATE "
        "FUNCTION trap.cardinality(uuid[]) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sprung "
        "as "
        "%', current_user; END $$; CREATE FUNCTION trap.same(int, int) RETURNS boolean LANGUAGE plpgsql AS "
        "$$ "
        "BEGIN RAISE EXCEPTION 'sprung as %', current_user; END $$; CREATE OPERATOR trap.= (FUNCTION = "
        "trap.same, LEFTARG = int, RIGHTARG = int)");
    sb_test_pg_script(f->client, "SET search_path = trap, pg_catalog; " APPEND);
    assert_int_equal(sb_test_pg_int(f->super, "SELECT count(*) FROM sagabus.event"), 1);
}

/* ---- what they cannot ---- */

static void nobody_changes_history(void **state)
{
    fixture_t *f = *state;
    static const char *const history[] = {"UPDATE sagabus.event SET data = ''",
                                          "DELETE FROM sagabus.event",
                                          "TRUNCATE sagabus.event",
                                          "UPDATE sagabus.event_seal SET leaves = 1",
                                          "DELETE FROM sagabus.event_seal",
                                          "DELETE FROM sagabus.event_erased",
                                          "INSERT INTO sagabus.event_erased VALUES (1, '', '', now(), '')",
                                          "INSERT INTO sagabus.event_domain DEFAULT VALUES",
                                          "INSERT INTO sagabus.event_domain_20000000 DEFAULT VALUES",
                                          "DELETE FROM sagabus.event_domain_20000000",
                                          "TRUNCATE sagabus.event_domain_20000000",
                                          "DROP TABLE sagabus.event_domain_20000000",
                                          "ALTER TABLE sagabus.event DISABLE TRIGGER ALL",
                                          "DROP TRIGGER event_no_change ON sagabus.event",
                                          "SET session_replication_role = replica",
                                          "CREATE TABLE sagabus.mine (a int)",
                                          "SELECT sagabus.event_erase(ARRAY[1], 'no')",
                                          "SELECT sagabus.access_add('t_client', 'engine')",
                                          "SELECT sagabus.access_grant()",
                                          "UPDATE sagabus.artifact SET body = ''",
                                          "UPDATE sagabus.store SET incarnation = 7",
                                          "DELETE FROM sagabus.migration",
                                          "SELECT setval('sagabus.event_seq', 1)",
                                          NULL};
    static const char *const of_client[] = {"SELECT nextval('sagabus.event_seq')",
                                            "INSERT INTO sagabus.event DEFAULT VALUES",
                                            "INSERT INTO sagabus.stream (category, key) VALUES ('a', 'b')",
                                            "UPDATE sagabus.lease SET cursor = 1",
                                            "SELECT * FROM sagabus.api_key",
                                            "SELECT sagabus.event_partitions_ahead(1)",
                                            "SELECT sagabus.lease_advance('relay', 1, 1, 1, 1, '{}')",
                                            NULL};
    static const char *const of_reader[] = {"SELECT * FROM sagabus.event", APPEND,
                                            "CREATE TABLE sagabus_view.mine (a int)", NULL};
    assert_refused(f->engine, history);
    assert_refused(f->client, history);
    assert_refused(f->client, of_client);
    assert_refused(f->reader, history);
    assert_refused(f->reader, of_client);
    assert_refused(f->reader, of_reader);
}

/* ---- time limits ---- */

/* Somebody who begins, appends and goes for lunch: seen by name and pid, then freed by the role's limit,
 * which is the DBA's where there was one. */
static void a_stuck_appender_is_named_and_freed(void **state)
{
    fixture_t *f = *state;
    char command[2 * SB_TEST_URI];
    const char *bin = getenv("SB_TEST_PG_BIN");
    (void)snprintf(command, sizeof command, "(echo \"BEGIN; %s;\"; sleep 60) | '%s%spsql' -q '%s'", APPEND,
                   bin ? bin : "", bin ? "/" : "", f->client_uri);
    const char *const argv[] = {"sh", "-c", command, NULL};
    const char *const environment[] = {"PGAPPNAME=gone for lunch", NULL};
    sb_test_process_t process = {0};
    sb_sequencer_stats_t stats = {0};
    start_sequencer(f);
    sb_test_spawn(&process, argv, environment, NULL);
    assert_soon((sb_sequencer_stats(f->sequencer, &stats), stats.blocker_pid != 0), 10000);
    assert_string_equal(stats.blocker_name, "gone for lunch");
    assert_int_equal(stats.lag_events, 1);
    sb_test_pg_script(
        f->engine,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) VALUES (5, 1, 1, "
        "2, gen_random_uuid(), '{}')"); /* waits behind it to be read */
    assert_soon((sb_sequencer_stats(f->sequencer, &stats), stats.safe_seq == 2), 10000);
    assert_soon((sb_sequencer_stats(f->sequencer, &stats), stats.blocker_pid == 0), 5000);
    sb_test_process_end(&process);
    assert_int_equal(sb_test_pg_int(f->super, "SELECT count(*) FROM sagabus.event"), 1);
    assert_int_equal(
        sb_test_pg_int(f->super, "SELECT cardinality(setconfig) FROM pg_db_role_setting WHERE setrole = "
                                 "'t_engine'::regrole AND setdatabase = (SELECT oid FROM pg_database WHERE "
                                 "datname = current_database())"),
        3);
    assert_int_equal(
        sb_test_pg_int(f->super, "SELECT count(*) FROM pg_db_role_setting WHERE setrole = "
                                 "'t_client'::regrole AND 'idle_in_transaction_session_timeout=4000ms' = ANY "
                                 "(setconfig) AND 'lock_timeout=10s' = ANY (setconfig) AND setdatabase = "
                                 "(SELECT oid FROM pg_database WHERE datname = current_database())"),
        1);
}

static void who_may_not_set_limits_is_told_what_to_run(void **state)
{
    fixture_t *f = *state;
    sb_buf_t todo = SB_BUF_INIT;
    sb_test_pg_script(f->super, "ALTER ROLE t_owner NOCREATEROLE; CREATE ROLE t_late LOGIN");
    assert_ok(sb_access_add(f->owner, "t_late", "client", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, &todo, &f->err), &f->err);
    assert_contains(sb_buf_text(&todo), "ALTER ROLE t_late IN DATABASE ");
    assert_contains(sb_buf_text(&todo), "SET idle_in_transaction_session_timeout = '5s';");
    sb_test_pg_script(f->super, sb_buf_text(&todo));
    sb_buf_reset(&todo);
    assert_ok(sb_access_grant(f->owner, NULL, &todo, &f->err), &f->err);
    assert_int_equal(todo.len, 0);
    sb_buf_fini(&todo);
    sb_test_pg_script(f->super, "ALTER ROLE t_owner CREATEROLE");
}

static void a_role_of_another_kind_keeps_nothing_of_the_first(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->super, "CREATE ROLE t_moved LOGIN; GRANT t_moved TO t_owner");
    assert_ok(sb_access_add(f->owner, "t_moved", "engine", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_ok(sb_access_add(f->owner, "t_moved", "client", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->super,
                                    "SELECT (has_table_privilege('t_moved', 'sagabus.event', 'INSERT') "
                                    "OR has_table_privilege('t_moved', 'sagabus.lease', 'UPDATE') "
                                    "OR has_schema_privilege('t_moved', 'sagabus_view', 'CREATE'))::int"),
                     0);
    assert_int_equal(
        sb_test_pg_int(f->super, "SELECT has_table_privilege('t_moved', 'sagabus.event', 'SELECT')::int"), 1);
}

/* What another client's combiner keeps is not to be seen, moved or used; the engine's upkeep has it all. */
static void a_lane_is_its_clients_own(void **state)
{
    fixture_t *f = *state;
    char uri[SB_TEST_URI];
#define LANE "'00000000-0000-4000-8000-000000000001'"
#define APPEND_MANY                                                                                          \
    "SELECT * FROM sagabus.event_append_many(" LANE ", 1, false, ARRAY['order'], ARRAY['o-9'], ARRAY[0], "   \
    "ARRAY[0], '{}', '{}', ARRAY[1], ARRAY[1], ARRAY[1], ARRAY[1], ARRAY[gen_random_uuid()], ARRAY[1], "     \
    "'{}', '{}', ARRAY['{}'::bytea])"
    sb_test_pg_script(f->super, "CREATE ROLE t_other LOGIN; GRANT t_other TO t_owner");
    assert_ok(sb_access_add(f->owner, "t_other", "client", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    sb_pg_t *other = open_as(f, "t_other", uri);
    sb_test_pg_script(f->client, "INSERT INTO sagabus.append_lane (lane) VALUES (" LANE ")");
    assert_int_equal(sb_test_pg_int(other, "SELECT count(*) FROM sagabus.append_lane"), 0);
    sb_test_pg_script(other, "UPDATE sagabus.append_lane SET number = 7; DELETE FROM sagabus.append_lane");
    assert_code(SB_DENIED,
                sb_pg_script(other,
                             "INSERT INTO sagabus.append_lane (lane, owner) VALUES (gen_random_uuid(), "
                             "'t_client')",
                             &f->err),
                &f->err);
    assert_int_not_equal(sb_pg_script(other, APPEND_MANY, &f->err), SB_OK);
    assert_contains(f->err.message, "was given up");
    assert_int_equal(sb_test_pg_int(f->client, "SELECT sum(number) FROM sagabus.append_lane"), 0);
    sb_test_pg_script(f->client, APPEND_MANY);
    assert_int_equal(sb_test_pg_int(f->client, "SELECT sum(number) FROM sagabus.append_lane"), 1);
    sb_test_pg_script(f->engine, "DELETE FROM sagabus.append_lane");
    assert_int_equal(sb_test_pg_int(f->super, "SELECT count(*) FROM sagabus.append_lane"), 0);
    sb_pg_close(&other);
    sb_test_pg_script(f->super, "DROP OWNED BY t_other; DROP ROLE t_other");
}

static int64_t may_read_views(fixture_t *f)
{
    return sb_test_pg_int(
        f->super, "SELECT has_table_privilege('t_former', 'sagabus_view.now', 'SELECT')::int + "
                  "has_schema_privilege('t_former', 'sagabus_view', 'USAGE')::int + (SELECT count(*) FROM "
                  "pg_default_acl d, aclexplode(d.defaclacl) x WHERE x.grantee = 't_former'::regrole)");
}

static void a_former_reader_keeps_no_view(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->super, "CREATE ROLE t_former LOGIN; GRANT t_former TO t_owner");
    sb_test_pg_script(f->engine, "CREATE TABLE sagabus_view.now (a int)");
    assert_ok(sb_access_add(f->owner, "t_former", "reader", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_int_equal(may_read_views(f), 3);
    assert_ok(sb_access_add(f->owner, "t_former", "client", &f->err), &f->err); /* of another kind */
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_int_equal(may_read_views(f), 0);
    assert_ok(sb_access_add(f->owner, "t_former", "reader", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_ok(sb_access_remove(f->owner, "t_former", &f->err), &f->err); /* of none */
    assert_ok(sb_access_grant(f->owner, NULL, NULL, &f->err), &f->err);
    assert_int_equal(may_read_views(f), 0);
    sb_test_pg_script(f->super, "DROP ROLE t_former"); /* nothing depends on it */
    assert_int_not_equal(sb_access_remove(f->owner, "t_former", &f->err), SB_OK);
    assert_contains(f->err.message, "role t_former was given no rights");
}

static void a_role_that_was_dropped_holds_nobody_up(void **state)
{
    fixture_t *f = *state;
    int before = 0, after = 0;
    sb_test_pg_script(f->super, "CREATE ROLE t_gone LOGIN; GRANT t_gone TO t_owner");
    assert_ok(sb_access_grant(f->owner, &before, NULL, &f->err), &f->err);
    assert_ok(sb_access_add(f->owner, "t_gone", "client", &f->err), &f->err);
    assert_ok(sb_access_grant(f->owner, &after, NULL, &f->err), &f->err);
    assert_int_equal(after, before + 1);
    sb_test_pg_script(f->super, "DROP OWNED BY t_gone; DROP ROLE t_gone");
    assert_ok(sb_access_grant(f->owner, &after, NULL, &f->err), &f->err);
    assert_int_equal(after, before);
}

static void a_role_that_is_not_there_is_named(void **state)
{
    fixture_t *f = *state;
    assert_int_not_equal(sb_access_add(f->owner, "t_nobody", "engine", &f->err), SB_OK);
    assert_contains(f->err.message, "there is no role t_nobody");
}

/* ---- a store that keeps what it was given ---- */

/* fsync is given to the test's server on its command line, so it is the other of the two that is switched
 * off. */
static void a_postgresql_that_loses_commits_is_refused(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_durable_check(f->engine, false, &f->err), &f->err);
    sb_test_pg_script(f->super, "ALTER SYSTEM SET full_page_writes = off");
    sb_test_pg_script(f->super, "SELECT pg_reload_conf()");
    assert_soon(sb_test_pg_int(f->super, "SELECT (current_setting('full_page_writes') = 'off')::int") == 1,
                10000);
    assert_soon(sb_durable_check(f->engine, false, NULL) == SB_UNSUPPORTED, 10000);
    assert_code(SB_UNSUPPORTED, sb_durable_check(f->engine, false, &f->err), &f->err);
    assert_contains(f->err.message, "PostgreSQL runs with full_page_writes=off");
    assert_contains(f->err.message, "store.allow_unsafe=true");
    assert_ok(sb_durable_check(f->engine, true, &f->err), &f->err);
    sb_test_pg_script(f->super, "ALTER SYSTEM RESET full_page_writes");
    sb_test_pg_script(f->super, "SELECT pg_reload_conf()");
    assert_soon(sb_durable_check(f->engine, false, NULL) == SB_OK, 10000);
}

/* ---- upkeep of the tables ---- */

static void every_table_that_grows_has_its_own_autovacuum(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(
        sb_test_pg_int(
            f->super,
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'sagabus'::regnamespace AND relkind "
            "= 'r' AND relname ~ '^event_(domain|saga)_[0-9]+$' AND NOT (reloptions @> "
            "ARRAY['autovacuum_vacuum_insert_scale_factor=0.05', 'autovacuum_freeze_min_age=0', "
            "'fillfactor=100'])"),
        0);
    assert_int_equal(
        sb_test_pg_int(
            f->super,
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'sagabus'::regnamespace AND relname "
            "IN ('lease', 'stream', 'saga', 'append_command') AND EXISTS (SELECT FROM "
            "unnest(reloptions) o WHERE o LIKE 'autovacuum_vacuum_scale_factor=%')"),
        4);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_store_works_under_its_roles),
        CASE(a_callers_search_path_is_not_followed),
        CASE(nobody_changes_history),
        CASE(a_stuck_appender_is_named_and_freed),
        CASE(a_role_of_another_kind_keeps_nothing_of_the_first),
        CASE(a_lane_is_its_clients_own),
        CASE(a_former_reader_keeps_no_view),
        CASE(a_role_that_was_dropped_holds_nobody_up),
        CASE(a_role_that_is_not_there_is_named),
        CASE(who_may_not_set_limits_is_told_what_to_run),
        CASE(a_postgresql_that_loses_commits_is_refused),
        CASE(every_table_that_grows_has_its_own_autovacuum),
    };
    return cmocka_run_group_tests_name("roles", tests, sb_test_pg_start, sb_test_pg_stop);
}
