/* SPDX-License-Identifier: Apache-2.0 */
#include "events/tally.h"
#include "events/view/view_batch.h"
#include "events/view/view_generation.h"
#include "tests/pg/view_world.h"
#include "tests/support/process.h"
#include "tests/support/tally.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- kill between rows and checkpoint ---- */

static int run_child(void *context)
{
    const char *uri = context;
    sb_catalog_t *catalog = NULL;
    sb_projector_t *projector = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_catalog_new(&catalog, &err) != SB_OK)
        return 1;
    sb_projector_config_t config = {.pg_uri = uri,
                                    .owner = "child",
                                    .catalog = catalog,
                                    .batch_events = 3,
                                    .idle_ms = 1,
                                    .refresh_ms = 20};
    if (sb_projector_open(&projector, &config, &err) != SB_OK)
        return 1;
    sb_projector_run(projector);
    return 0;
}

/* Customers whose row is not what their events up to the checkpoint say, in one snapshot. Under one status or
 * another stands every order, with its amount, which only the carry knows when the status changes. */
static const char wrong_customers[] =
    "WITH at AS (SELECT cursor AS seq FROM sagabus.lease WHERE role = 'view:customer_orders'), "
    "said AS (SELECT convert_from(e.data, 'UTF8')::jsonb ->> 'customer_id' AS customer_id, count(*) AS "
    "orders, "
    "sum((convert_from(e.data, 'UTF8')::jsonb ->> 'amount')::bigint) AS amount "
    "FROM sagabus.event e JOIN sagabus.event_type t USING (type_no), at "
    "WHERE e.seq <= at.seq AND t.name = 'order.created' GROUP BY 1) "
    "SELECT count(*) FROM said FULL JOIN sagabus_view.customer_orders c USING (customer_id) "
    "WHERE (said.orders, said.amount, said.orders, said.amount) IS DISTINCT FROM (c.orders, "
    "c.ordered_amount::numeric, c.pending + c.confirmed + c.cancelled, "
    "(c.pending_amount + c.confirmed_amount + c.cancelled_amount)::numeric)";

static void a_killed_projector_leaves_rows_and_checkpoint_together(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    int64_t before = 0;
    int moved = 0;
    for (int round = 0; round < 12; round++) {
        sb_test_process_t child = {0};
        sb_world_append(&world, 100 + round, 500, 60, 0);
        sb_test_fork(&child, run_child, world.uri);
        if (round % 2 == 1) /* in the midst of folding, however slow the machine is; else wherever it is */
            assert_soon(sb_world_cursor(&world, "customer_orders") > before, 60000);
        sb_test_sleep_ms(round % 2 == 1 ? round * 7 : 60 + (round * 37) % 150);
        sb_test_signal(&child, SIGKILL);
        assert_true(sb_test_wait(&child, 60000));
        sb_test_process_end(&child);
        /* its backend may still commit what it was sent: ask for a state, not for the last one */
        if (sb_world_cursor(&world, "customer_orders") < 0 ||
            sb_world_int(&world,
                         "SELECT count(*) FROM sagabus.view_generation WHERE view = 'customer_orders'") == 0)
            continue;
        assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
        moved += sb_world_cursor(&world, "customer_orders") > before;
        before = sb_world_cursor(&world, "customer_orders");
    }
    assert_true(moved > 3);
    sb_world_project(&world, 100);
    assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
    assert_int_equal(sb_world_cursor(&world, "customer_orders"), sb_world_safe(&world));
    sb_world_close(&world);
}

/* ---- owners ---- */

static int owned(const sb_world_projector_t *p)
{
    sb_views_stats_t stats;
    sb_projector_stats(p->projector, &stats);
    return stats.owned;
}

static void of_two_projectors_one_owns_a_view(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t a;
    sb_world_projector_t b;
    sb_world_open(&world);
    sb_world_start(&world, &a, "a", 10);
    assert_soon(owned(&a) == SB_WORLD_VIEWS, 10000);
    sb_world_start(&world, &b, "b", 10);
    for (int i = 0; i < 10; i++) {
        sb_world_append(&world, 200 + i, 100, 30, 0);
        assert_int_equal(owned(&a), SB_WORLD_VIEWS);
        assert_int_equal(owned(&b), 0);
    }
    assert_int_equal(
        sb_world_int(&world, "SELECT count(*) FROM sagabus.lease WHERE role LIKE 'view:%%' AND owner = 'a'"),
        SB_WORLD_VIEWS);
    sb_world_stop(&a);
    assert_soon(owned(&b) == SB_WORLD_VIEWS, 10000);
    sb_world_append(&world, 300, 100, 30, 0);
    int64_t safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe), 10000);
    assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
    sb_world_stop(&b);
    sb_world_close(&world);
}

static void a_projector_comes_back_after_its_connection_broke(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_world_open(&world);
    sb_world_start(&world, &p, "a", 10);
    assert_soon(owned(&p) == SB_WORLD_VIEWS, 10000);
    for (int i = 0; i < 3; i++) {
        sb_world_append(&world, 400 + i, 300, 30, 0);
        sb_test_pg_script(world.pg,
                          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                          "'sagabus-projector' AND datname = current_database()");
        int64_t safe = sb_world_safe(&world);
        assert_soon(sb_world_is_at(&world, "customer_orders", safe), 20000);
    }
    assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
    sb_world_stop(&p);
    sb_world_close(&world);
}

/* Where the service "views" leads from now on: to this database. */
static void lead_to(const char *file, const char *uri)
{
    char text[SB_TEST_URI];
    (void)snprintf(text, sizeof text, "%s", uri);
    for (char *c = text; *c; c++)
        *c = *c == ' ' ? '\n' : *c;
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    assert_true(fprintf(out, "[views]\n%s\n", text) > 0);
    assert_int_equal(fclose(out), 0);
}

/* As with several hosts in the URI: the connection that reads ahead comes later, and may lead elsewhere, to a
 * standby that is behind. */
static void what_is_read_ahead_is_of_the_same_server(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_t named;
    sb_world_projector_t p;
    char other[SB_TEST_URI];
    char file[] = "/tmp/sb-service-XXXXXX";
    if (getenv("SB_TEST_PG_URI"))
        skip();
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(setenv("PGSERVICEFILE", file, 1), 0);
    sb_world_open(&world);
    named = world;
    (void)snprintf(named.uri, sizeof named.uri, "service=views");
    lead_to(file, world.uri);
    sb_world_start(&named, &p, "a", 10);
    assert_soon(owned(&p) == SB_WORLD_VIEWS, 30000);
    lead_to(file, sb_test_pg_fresh(other));
    sb_world_append(&world, 470, 600, 60, 0);
    int64_t safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe) &&
                    sb_world_is_at(&world, "order_summary", safe),
                60000);
    assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
    sb_world_stop(&p);
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    assert_int_equal(unsetenv("PGSERVICEFILE"), 0);
    assert_int_equal(remove(file), 0);
    sb_world_close(&world);
}

static void a_fenced_projector_takes_the_view_anew(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_world_open(&world);
    sb_world_append(&world, 450, 100, 30, 0);
    sb_world_start(&world, &p, "a", 10);
    assert_soon(owned(&p) == SB_WORLD_VIEWS, 10000);
    sb_test_pg_script(world.pg, "UPDATE sagabus.lease SET epoch = epoch + 10 WHERE role LIKE 'view:%'");
    sb_world_append(&world, 451, 300, 30, 0);
    int64_t safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe), 10000);
    assert_int_equal(sb_test_pg_int(world.pg, wrong_customers), 0);
    assert_soon(sb_world_int(&world, "SELECT min(epoch) FROM sagabus.lease WHERE role LIKE 'view:%%'") >= 12,
                10000); /* one without news finds out with its next beat */
    sb_world_stop(&p);
    sb_world_close(&world);
}

/* ---- what it waits for, what it steps over ---- */

static void an_unknown_version_is_waited_for(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 500, 50, 10, 0);
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('order.created', 2);"
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'new');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT s.stream_no, 1, "
        "t.type_no, 1, gen_random_uuid(), '{\"customer_id\":\"c-new\",\"amount\":5}' FROM sagabus.stream "
        "s, sagabus.event_type t WHERE s.key = 'new' AND t.name = 'order.created' AND t.version = 2");
    int64_t waits_at = sb_world_safe(&world) - 1;
    sb_world_append(&world, 501, 50, 10, 0);
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "a", 10);
    assert_soon(sb_world_int(&world,
                             "SELECT count(*) FROM sagabus.lease WHERE role LIKE 'view:%%' AND detail ->> "
                             "'state' = 'waiting' AND cursor = %" PRId64,
                             waits_at) == 2,
                10000);
    assert_code(SB_UNSUPPORTED, sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err),
                &err);
    sb_test_pg_script(world.pg,
                      "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'event', "
                      "'order.created', 2, sha256(b), b FROM (SELECT "
                      "'{\"schema\":{\"type\":\"object\"},\"type\":\"order.created\",\"version\":2}'::bytea "
                      "AS b) x");
    assert_soon(sb_world_is_at(&world, "customer_orders", safe) &&
                    sb_world_is_at(&world, "order_summary", safe),
                10000);
    sb_world_stop(&p);
    assert_int_equal(sb_world_int(&world,
                                  "SELECT count(*) FROM sagabus.lease WHERE role LIKE 'view:%%' AND detail = "
                                  "'{}'"),
                     SB_WORLD_VIEWS);
    assert_int_equal(
        sb_world_int(&world, "SELECT ordered_amount FROM sagabus_view.customer_orders WHERE customer_id = "
                             "'c-new'"),
        5);
    sb_world_close(&world);
}

/* A newer release registered what this one cannot read: the views that do without it go on. */
static void what_this_release_cannot_read_stops_nothing_else(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_world_open(&world);
    sb_world_append(&world, 550, 50, 10, 0);
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES "
        "('event', 'order.magic', 1, sha256('1'), '{\"schema\":{\"magic\":1},\"type\":\"order.magic\","
        "\"version\":1}'), ('view', 'aaa', 1, sha256('2'), "
        "'{\"view\":\"aaa\",\"version\":1,\"sorcery\":true}')");
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "a", 10);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe) &&
                    sb_world_is_at(&world, "order_summary", safe),
                10000);
    assert_soon(
        sb_world_int(&world,
                     "SELECT count(*) FROM sagabus.lease WHERE role = 'view:aaa' AND owner IS NULL AND "
                     "detail ->> 'problem' LIKE '%%aaa version 1%%'") == 1,
        10000);
    sb_world_stop(&p);
    sb_world_close(&world);
}

static void poison_costs_its_key_only(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    sb_world_append(&world, 600, 1000, 50, 100);
    sb_world_project(&world, 17);
    int64_t parked =
        sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'order_summary'");
    assert_true(parked > 0);
    assert_true(sb_world_int(&world, "SELECT count(*) FROM sagabus_view.order_summary") > 20);
    /* a key is parked once, whatever comes after */
    sb_world_append(&world, 601, 1000, 50, 0);
    sb_world_project(&world, 17);
    assert_int_equal(
        sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'order_summary'"),
        parked);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) - count(DISTINCT (table_name, key)) FROM "
                                          "sagabus.view_parked WHERE view = 'order_summary'"),
                     0);
    sb_world_close(&world);
}

static void a_table_of_another_view_is_not_taken(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_world_open(&world);
    sb_world_append(&world, 700, 20, 5, 0);
    sb_test_pg_script(world.pg, "INSERT INTO sagabus.view_table VALUES ('order_summary', 'somebody')");
    sb_world_start(&world, &p, "a", 10);
    int64_t safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe), 10000); /* which goes on */
    assert_soon(sb_world_int(
                    &world, "SELECT count(*) FROM sagabus.lease WHERE role = 'view:order_summary' AND detail "
                            "->> 'problem' LIKE '%%somebody%%'") == 1,
                10000);
    sb_test_pg_script(world.pg, "DELETE FROM sagabus.view_table WHERE view = 'somebody'");
    assert_soon(sb_world_is_at(&world, "order_summary", safe), 20000);
    sb_world_stop(&p);
    sb_world_close(&world);
}

static void *run_projector(void *context)
{
    sb_projector_run(context);
    return NULL;
}

static int64_t last_beat(sb_world_t *world)
{
    return sb_world_int(world, "SELECT (extract(epoch FROM beat) * 1000000)::bigint FROM sagabus.lease WHERE "
                               "role = 'view:order_summary'");
}

/* How many beats came before the one before them was overdue, as the database's clock, which judges, says. A
 * beat that a busy machine held up is none of them. */
static int count_in_time(sb_world_t *world, int64_t *beat, int *in_time, int64_t overdue_ms)
{
    int64_t now = last_beat(world);
    if (now > *beat)
        *in_time += now - *beat < overdue_ms * 1000;
    *beat = now;
    return *in_time;
}

/* Or another instance would find its lease overdue and end the connection that all other views live on. */
static void a_view_that_fails_still_beats(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_projector_t *projector = NULL;
    pthread_t thread;
    sb_world_open(&world);
    sb_test_pg_script(world.pg, "INSERT INTO sagabus.view_table VALUES ('order_summary', 'somebody')");
    sb_projector_config_t config = {.pg_uri = world.uri,
                                    .owner = "a",
                                    .catalog = world.catalog,
                                    .idle_ms = 10,
                                    .refresh_ms = 50,
                                    .overdue_ms = 600};
    assert_ok(sb_projector_open(&projector, &config, &err), &err);
    assert_int_equal(pthread_create(&thread, NULL, run_projector, projector), 0);
    assert_soon(sb_world_int(&world, "SELECT count(*) FROM sagabus.lease WHERE role = 'view:order_summary' "
                                     "AND detail ->> 'state' = 'failed'") == 1,
                10000);
    int64_t beat = last_beat(&world);
    int in_time = 0;
    assert_soon(count_in_time(&world, &beat, &in_time, config.overdue_ms) >= 5, 10000);
    sb_projector_stop(projector);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sb_projector_close(&projector);
    sb_world_close(&world);
}

/* ---- completeness ---- */

static void assert_gap(sb_world_t *world, const char *role, int64_t from, int64_t to, int64_t missing)
{
    assert_int_equal(sb_test_tally_ranges(world->pg), 1);
    assert_int_equal(sb_world_int(world,
                                  "SELECT count(*) FROM sagabus.tally_gap WHERE role = '%s' AND from_seq <= "
                                  "%" PRId64 " AND to_seq >= %" PRId64 " AND events - taken = %" PRId64,
                                  role, from, to, missing),
                     1);
}

/* A checkpoint that somebody moves over events, or back: the range is named, until a replay has mended it. */
static void a_checkpoint_that_was_moved_is_found_by_its_range(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    sb_world_append(&world, 3, 23000, 50, 200);
    sb_world_project(&world, 700); /* nothing is found, in whole blocks and in the one under way */
    assert_int_equal(sb_world_int(&world,
                                  "SELECT count(*) FROM sagabus.tally WHERE role = 'view:order_summary' "
                                  "AND block < 2"),
                     0);
    int64_t from = sb_world_cursor(&world, "order_summary");
    sb_world_append(&world, 4, 1000, 50, 0);
    int64_t missing = sb_world_int(
        &world,
        "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE "
        "e.seq > %" PRId64 " AND e.seq <= %" PRId64 " AND t.name = ANY (SELECT unnest(domain) FROM "
        "sagabus.tally_reader WHERE role = 'view:order_summary')",
        from, from + 60);
    assert_true(missing > 10);
    (void)sb_world_int(&world, "0"); /* its function holds nothing of the next statement */
    char moved[160];
    (void)snprintf(moved, sizeof moved,
                   "UPDATE sagabus.lease SET cursor = cursor + 60 WHERE role = 'view:order_summary'");
    sb_test_pg_script(world.pg, moved);
    sb_world_projector_t p;
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "test", 700);
    assert_soon(sb_world_is_at(&world, "order_summary", safe) &&
                    sb_world_is_at(&world, "customer_orders", safe),
                60000);
    assert_gap(&world, "view:order_summary", from + 1, from + 60, missing);
    sb_world_stop(&p);
    /* Later events do not hide it, and what an operator accepted stays accepted. */
    int64_t accepted = 0;
    assert_ok(sb_tally_accept(world.pg, "view:order_summary", "test", "a test", &accepted, &err), &err);
    assert_int_equal(accepted, 1);
    sb_world_append(&world, 5, 9000, 50, 0);
    sb_world_project(&world, 700);

    /* Moved back: events are folded twice. */
    sb_test_pg_script(world.pg,
                      "UPDATE sagabus.lease SET cursor = cursor - 500 WHERE role = 'view:inventory_levels'; "
                      "UPDATE sagabus.lease SET cursor = cursor - 500 WHERE role = 'view:customer_orders'");
    sb_world_append(&world, 6, 100, 50, 0);
    safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "test", 700);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe), 60000);
    sb_world_stop(&p);
    assert_true(sb_test_tally_ranges(world.pg) >= 1);
    assert_true(sb_world_int(&world, "SELECT sum(taken - events) FROM sagabus.tally_gap WHERE role = "
                                     "'view:customer_orders'") > 0);

    static const char *const mend[] = {"order_summary", "customer_orders"};
    for (int i = 0; i < 2; i++)
        assert_ok(sb_world_replay(world.uri, mend[i], 5000, NULL, NULL, &report, &err), &err);
    sb_world_append(&world, 7, 300, 50, 0);
    sb_world_project(&world, 100);
    sb_world_close(&world);
}

/* The counts of a replay, of what was folded beside it and after a rollback are those of the store. */
static void counts_survive_replay_and_rollback(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    sb_world_append(&world, 11, 12000, 300, 100);
    sb_world_project(&world, 1000);
    for (int round = 0; round < 3; round++) {
        assert_ok(sb_world_replay(world.uri, "customer_orders", 700, NULL, NULL, &report, &err), &err);
        assert_int_equal(sb_test_tally_ranges(world.pg), 0);
        sb_world_append(&world, 12 + round, 400, 300, 0);
        sb_world_project(&world, 150);
    }
    sb_catalog_t *catalog = NULL;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    sb_replay_config_t config = {.pg_uri = world.uri, .catalog = catalog, .view = "customer_orders"};
    assert_ok(sb_view_rollback(&config, 0, &report, &err), &err);
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    sb_world_append(&world, 20, 400, 300, 0);
    sb_world_project(&world, 150);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus.tally_reader WHERE role = "
                                          "'view:customer_orders'"),
                     2);
    sb_catalog_free(&catalog);
    sb_world_close(&world);
}

/* Partitions end one short of a block, and those of the saga class may go while a view has its beginning
 * before them. */
static void a_detached_range_is_no_gap(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_replay_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    sb_test_pg_script(world.pg, "SELECT setval('sagabus.event_seq', 19995000);"
                                "SELECT sagabus.event_partitions_ahead(1000000)");
    sb_world_append(&world, 41, 9000, 50, 0);
    int64_t safe = sb_world_safe(&world);
    assert_true(safe > 20000000);
    sb_world_start(&world, &p, "test", 5000); /* nothing is compared yet */
    assert_soon(sb_world_is_at(&world, "order_summary", safe) &&
                    sb_world_is_at(&world, "customer_orders", safe),
                60000);
    sb_world_stop(&p);
    sb_test_pg_script(world.pg, "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) VALUES "
                                "(2, 0, 19999999, 'event_saga_20000000')");
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    assert_ok(sb_world_replay(world.uri, "customer_orders", 5000000, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.events, sb_world_int(&world, "SELECT sum(t.events) FROM sagabus.tally t JOIN "
                                                         "sagabus.lease l USING (role) WHERE role = "
                                                         "'view:customer_orders' AND t.generation = l.next"));
    sb_test_pg_script(world.pg, "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) VALUES "
                                "(1, 0, 19999999, 'event_domain_20000000')");
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    sb_world_append(&world, 42, 100, 50, 0);
    safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "test", 5000);
    assert_soon(sb_world_is_at(&world, "customer_orders", safe), 60000);
    sb_world_stop(&p);
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    sb_world_close(&world);
}

/* A daemon that lives through very many replays: statements of generations that are gone are given back. */
static void statements_of_old_generations_are_given_back(void **state)
{
    (void)state;
    sb_world_t world;
    sb_hash_t fingerprint;
    sb_tally_t tally = {.count = 0};
    sb_view_definition_t *definition = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    assert_ok(
        sb_view_registered(world.catalog, SB_SLICE("order_summary"), 0, &definition, &fingerprint, &err),
        &err);
    for (int i = 1; i <= 1600; i++) {
        sb_view_batch_t *batch = NULL;
        sb_view_batch_config_t config = {.pg = world.pg,
                                         .catalog = world.catalog,
                                         .definition = definition,
                                         .generation = i,
                                         .events_max = 10,
                                         .tally = &tally};
        assert_ok(sb_view_batch_new(&batch, &config, &err), &err);
        sb_view_batch_free(&batch);
    }
    /* Those that were executed, too. */
    sb_world_append(&world, 31, 50, 5, 0);
    sb_world_project(&world, 10);
    sb_view_definition_free(&definition);
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_projector_leaves_rows_and_checkpoint_together),
        cmocka_unit_test(of_two_projectors_one_owns_a_view),
        cmocka_unit_test(a_projector_comes_back_after_its_connection_broke),
        cmocka_unit_test(what_is_read_ahead_is_of_the_same_server),
        cmocka_unit_test(a_fenced_projector_takes_the_view_anew),
        cmocka_unit_test(an_unknown_version_is_waited_for),
        cmocka_unit_test(what_this_release_cannot_read_stops_nothing_else),
        cmocka_unit_test(poison_costs_its_key_only),
        cmocka_unit_test(a_table_of_another_view_is_not_taken),
        cmocka_unit_test(a_view_that_fails_still_beats),
        cmocka_unit_test(a_checkpoint_that_was_moved_is_found_by_its_range),
        cmocka_unit_test(counts_survive_replay_and_rollback),
        cmocka_unit_test(a_detached_range_is_no_gap),
        cmocka_unit_test(statements_of_old_generations_are_given_back),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start_hasty, sb_test_pg_stop);
}
