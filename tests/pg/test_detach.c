/* Old ranges go while the store is at work: nobody waits, nobody sees a hole, and who asks for what is gone
 * is told so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/detach.h"
#include "events/store/erase.h"
#include "events/store/keeper.h"
#include "events/store/verify.h"
#include "sagabus/store.h"
#include "tests/pg/view_world.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define EDGE INT64_C(20000000) /* of the first partition */

typedef struct fixture {
    sb_world_t world;
    sb_pg_t *pg; /* the world's */
    sb_store_t *store;
    sb_detach_plan_t plan;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

#define APPEND(key)                                                                                          \
    "SELECT sagabus.event_append('order', '" key "', 0, 0, NULL, NULL, ARRAY[gen_random_uuid()], "           \
    "ARRAY[(SELECT type_no FROM sagabus.event_type WHERE name = 'order.cancelled' LIMIT 1)], "               \
    "ARRAY[NULL::timestamptz], ARRAY[NULL::bytea], ARRAY['{\"order_id\":\"" key "\"}'::bytea]);"

/* Everyone is past everything, as after a night's rest. */
static void catch_up(fixture_t *f)
{
    sb_test_pg_script(
        f->pg, "INSERT INTO sagabus.lease (role) SELECT DISTINCT 'view:' || name FROM sagabus.artifact WHERE "
               "kind = 'view' ON CONFLICT DO NOTHING; UPDATE sagabus.lease SET cursor = (SELECT last_value "
               "FROM sagabus.event_seq) WHERE role <> 'keeper'");
    sb_keeper_t *keeper = NULL;
    pthread_t thread;
    sb_keeper_config_t config = {.pg_uri = f->world.uri, .owner = "one", .seal_ms = 1};
    assert_ok(sb_keeper_open(&keeper, &config, &f->err), &f->err);
    assert_int_equal(pthread_create(&thread, NULL, (void *(*)(void *))(void (*)(void))sb_keeper_run, keeper),
                     0);
    assert_soon(sb_test_pg_int(f->pg,
                               "SELECT (max(s.to_seq) = max(q.last_value))::int FROM sagabus.event_seal s, "
                               "sagabus.event_seq q") == 1,
                15000);
    sb_keeper_stop(keeper);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sb_keeper_close(&keeper);
}

/* old lies below the edge, both on both sides of it, new above. */
static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture_t *f = &fixture;
    sb_store_config_t config = {0};
    sb_world_open(&f->world);
    f->pg = f->world.pg;
    config.pg_uri = f->world.uri;
    assert_ok(sb_store_open(&f->store, &config, &f->err), &f->err);
    sb_test_pg_script(f->pg, "SELECT sagabus.event_partitions_ahead(30000000);" APPEND("old") APPEND("old")
                                 APPEND("both"));
    sb_test_pg_script(f->pg, "SELECT setval('sagabus.event_seq', 20000000);" APPEND("both") APPEND("both")
                                 APPEND("new"));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_world_close(&f->world);
    return 0;
}

static void plan_one(fixture_t *f)
{
    assert_ok(sb_detach_plan(f->pg, SB_CLASS_DOMAIN, EDGE + 2, &f->plan, &f->err), &f->err);
    assert_int_equal(f->plan.count, 1);
    assert_int_equal(f->plan.range[0].from, 0);
    assert_int_equal(f->plan.range[0].to, EDGE - 1);
}

static void detach_one(fixture_t *f)
{
    plan_one(f);
    assert_ok(sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 10000, &f->err), &f->err);
}

static void a_range_that_is_still_needed_stays(void **state)
{
    fixture_t *f = *state;
    static const char *const roles[][2] = {{"sequencer", "the sequencer"},
                                           {"relay", "the relay to Kafka"},
                                           {"keeper", "sealing"},
                                           {"view:order_summary", "view order_summary"},
                                           {"push:hook", "push subscription hook"}};
    sb_test_pg_script(f->pg, "INSERT INTO sagabus.push (name, version) VALUES ('hook', 1); "
                             "INSERT INTO sagabus.lease (role) VALUES ('push:hook')");
    catch_up(f);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        char sql[256];
        (void)snprintf(sql, sizeof sql,
                       "UPDATE sagabus.lease SET next = cursor, cursor = 17 WHERE role = '%s'", roles[i][0]);
        sb_test_pg_script(f->pg, sql);
        assert_code(SB_CONFLICT, sb_detach_plan(f->pg, SB_CLASS_DOMAIN, EDGE, &f->plan, &f->err), &f->err);
        assert_contains(f->err.message, roles[i][1]);
        assert_contains(f->err.message, "stands at 17");
        assert_code(SB_CONFLICT, sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 0, &f->err),
                    &f->err);
        (void)snprintf(sql, sizeof sql, "UPDATE sagabus.lease SET cursor = next, next = 1 WHERE role = '%s'",
                       roles[i][0]);
        sb_test_pg_script(f->pg, sql);
    }
    /* A push subscription that nobody has begun to deliver. */
    static const struct {
        const char *body, *stands;
    } unbegun[] = {{"{\"from\":\"start\"}", "stands at 0"}, {"{}", "stands at 18"}};
    for (size_t i = 0; i < sizeof unbegun / sizeof unbegun[0]; i++) {
        char sql[400];
        (void)snprintf(sql, sizeof sql,
                       "INSERT INTO sagabus.artifact (kind, name, version, hash, body, safe_seq) VALUES "
                       "('subscription', 'later', 1, sha256('1'), '%s', 18), "
                       "('subscription', 'later', 2, sha256('2'), '%s', 30000000)",
                       unbegun[i].body, unbegun[i].body);
        sb_test_pg_script(f->pg, sql);
        assert_code(SB_CONFLICT, sb_detach_plan(f->pg, SB_CLASS_DOMAIN, EDGE, &f->plan, &f->err), &f->err);
        assert_contains(f->err.message, "push subscription later, which has not begun");
        assert_contains(f->err.message, unbegun[i].stands);
        sb_test_pg_script(f->pg, "DELETE FROM sagabus.artifact WHERE name = 'later'");
    }
    plan_one(f);
    assert_ok(sb_detach_plan(f->pg, SB_CLASS_DOMAIN, EDGE - 1, &f->plan, &f->err), &f->err);
    assert_int_equal(f->plan.count, 0); /* its last number is not below that */
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_detached"), 0);
}

static void an_open_saga_keeps_its_range(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->pg,
        "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, "
        "shard, status, input) VALUES (5, gen_random_uuid(), now(), 'order', 'k', '', '', 1, 0, 1, '');"
        "INSERT INTO sagabus.event (seq, stream_no, version, type_no, class, id, data) VALUES (9, 5, 1, "
        "1, 2, gen_random_uuid(), '{}')");
    catch_up(f);
    assert_code(SB_CONFLICT, sb_detach_plan(f->pg, SB_CLASS_SAGA, EDGE, &f->plan, &f->err), &f->err);
    assert_contains(f->err.message, "which is open, stands at 8");
    sb_test_pg_script(f->pg, "UPDATE sagabus.saga SET ended_at = now(), status = 2");
    assert_ok(sb_detach_plan(f->pg, SB_CLASS_SAGA, EDGE, &f->plan, &f->err), &f->err);
    assert_int_equal(f->plan.count, 1);
    assert_ok(sb_detach_range(f->pg, SB_CLASS_SAGA, &f->plan.range[0], 10000, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE class = 2"), 0);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE class = 1"), 6);
}

/* ---- what readers are told ---- */

static sb_code_t count_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    (void)event;
    (void)err;
    ++*(int *)context;
    return SB_OK;
}

static sb_code_t read_stream(fixture_t *f, const char *key, int from, int *count)
{
    *count = 0;
    return sb_store_read_stream(f->store, SB_SLICE("order"), sb_slice(key), from, false, 100, count_event,
                                count, &f->err);
}

static sb_code_t read_all(fixture_t *f, int64_t after, bool domain_only, int *count)
{
    sb_read_all_t read = {.after_seq = after, .limit = 100, .domain_only = domain_only};
    *count = 0;
    return sb_store_read_all(f->store, &read, count_event, count, NULL, &f->err);
}

static void what_was_noted_stays(void **state)
{
    static const char *const refused[] = {"DELETE FROM sagabus.event_detached",
                                          "TRUNCATE sagabus.event_detached",
                                          "UPDATE sagabus.event_detached SET to_seq = to_seq - 1",
                                          "UPDATE sagabus.event_detached SET done_at = NULL"};
    fixture_t *f = *state;
    catch_up(f);
    detach_one(f);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_code(SB_DENIED, sb_pg_script(f->pg, refused[i], &f->err), &f->err);
}

static void who_reads_below_is_told(void **state)
{
    fixture_t *f = *state;
    int count = 0;
    catch_up(f);
    detach_one(f);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_domain_20000000"),
                     3); /* still a table */
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_detached WHERE done_at IS NOT NULL"), 1);

    assert_code(SB_GONE, read_stream(f, "both", 1, &count), &f->err);
    assert_ok(read_stream(f, "both", 2, &count), &f->err);
    assert_int_equal(count, 2);
    assert_code(SB_GONE, read_stream(f, "old", 1, &count), &f->err);
    assert_ok(read_stream(f, "new", 1, &count), &f->err);
    assert_int_equal(count, 1);
    assert_code(SB_GONE, read_all(f, 0, true, &count), &f->err);
    assert_contains(f->err.message, "up to 19999999 are no longer kept");
    assert_code(SB_GONE, read_all(f, EDGE - 2, false, &count), &f->err);
    assert_ok(read_all(f, EDGE - 1, true, &count), &f->err);
    assert_int_equal(count, 3);

    /* a stream of which nothing is left goes on where it was */
    sb_test_pg_script(f->pg, APPEND("old"));
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT version FROM sagabus.stream WHERE key = 'old'"), 3);
    assert_int_equal(
        sb_test_pg_int(f->pg,
                       "SELECT (first_version = 3 AND first_seq = last_seq)::int FROM sagabus.stream WHERE "
                       "key = 'old'"),
        1);
    assert_ok(read_stream(f, "old", 3, &count), &f->err);
    assert_int_equal(count, 1);
}

/* The table of a range that went is still in the database: what is erased goes from there, too. */
static void what_was_detached_can_be_erased(void **state)
{
    fixture_t *f = *state;
    sb_erase_t erase = {.reason = "asked for"};
    sb_erase_report_t report;
    static const char left[] = "SELECT count(*) FROM sagabus.event_domain_20000000 WHERE data <> 'null'";
    catch_up(f);
    detach_one(f);
    assert_int_equal(sb_test_pg_int(f->pg, left), 3);
    assert_ok(sb_erase_parse("order/both", &erase, &f->err), &f->err);
    assert_ok(sb_erase_run(f->pg, &erase, &report, &f->err), &f->err);
    assert_int_equal(report.erased, 3);
    assert_int_equal(report.first_version, 2);
    assert_int_equal(sb_test_pg_int(f->pg, left), 2);
    erase = (sb_erase_t){.reason = "asked for", .seq = 1};
    assert_ok(sb_erase_run(f->pg, &erase, &report, &f->err), &f->err);
    assert_string_equal(report.stream, "order/old");
    assert_int_equal(report.erased, 1);
    assert_int_equal(sb_test_pg_int(f->pg, left), 1);

    /* Back again it is proven as before; where it is gone for good, there is nothing to erase. */
    sb_verify_report_t verified;
    sb_verify_config_t config = {.pg = f->pg};
    sb_test_pg_script(f->pg,
                      "ALTER TABLE sagabus.event_domain ATTACH PARTITION sagabus.event_domain_20000000 "
                      "FOR VALUES FROM (0) TO (20000000);"
                      "SET session_replication_role = replica; DELETE FROM sagabus.event_detached;"
                      "RESET session_replication_role");
    assert_ok(sb_verify_run(&config, &verified, &f->err), &f->err);
    assert_int_equal(verified.fault, SB_FAULT_NONE);
    assert_int_equal(verified.erased, 4);
    detach_one(f);
    sb_test_pg_script(f->pg, "DROP TABLE sagabus.event_domain_20000000");
    erase.seq = 2;
    assert_code(SB_NOT_FOUND, sb_erase_run(f->pg, &erase, &report, &f->err), &f->err);
}

static void no_view_is_built_over_a_hole(void **state)
{
    fixture_t *f = *state;
    sb_replay_report_t report;
    catch_up(f);
    detach_one(f);
    assert_code(SB_GONE, sb_world_replay(f->world.uri, "order_summary", 0, NULL, NULL, &report, &f->err),
                &f->err);
    assert_contains(f->err.message, "history is incomplete, events up to 19999999 were detached");
}

static void the_seals_of_what_went_stay(void **state)
{
    fixture_t *f = *state;
    sb_verify_report_t report;
    sb_verify_config_t config = {.pg = f->pg};
    catch_up(f);
    detach_one(f);
    assert_ok(sb_verify_run(&config, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_NONE);
    assert_int_equal(report.detached_seals, 1);
    assert_true(report.seals > 1);
    assert_int_equal(report.events, 3);
    sb_test_pg_script(
        f->pg, "SET session_replication_role = replica; DELETE FROM sagabus.event WHERE seq = 20000002");
    assert_ok(sb_verify_run(&config, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_MISSING);
    assert_int_equal(report.fault_seq, 20000002);
}

/* Sagas' events go sooner than the domain's: those that stay are still held to their seal. */
static void what_stays_of_the_other_class_is_still_checked(void **state)
{
    fixture_t *f = *state;
    sb_verify_report_t report;
    sb_verify_config_t config = {.pg = f->pg};
    sb_test_pg_script(
        f->pg,
        "INSERT INTO sagabus.event (seq, stream_no, version, type_no, class, id, data) SELECT 10 + n, 5, "
        "n, 1, 2, gen_random_uuid(), '{}' FROM generate_series(1, 5) n");
    catch_up(f);
    assert_ok(sb_detach_plan(f->pg, SB_CLASS_SAGA, EDGE, &f->plan, &f->err), &f->err);
    assert_int_equal(f->plan.count, 1);
    assert_ok(sb_detach_range(f->pg, SB_CLASS_SAGA, &f->plan.range[0], 10000, &f->err), &f->err);
    assert_ok(sb_verify_run(&config, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_NONE);
    assert_int_equal(report.detached_seals, 1);
    assert_int_equal(report.events, 6);
    sb_test_pg_script(
        f->pg, "SET session_replication_role = replica; UPDATE sagabus.event SET data = '{}' WHERE seq = 2");
    assert_ok(sb_verify_run(&config, &report, &f->err), &f->err);
    assert_int_equal(report.fault, SB_FAULT_ALTERED);
    assert_int_equal(report.fault_seq, 2);
}

/* Between the note and the end of the command, which may wait for long: the events are still in their place.
 */
static void a_detach_that_is_not_ended_is_no_fault(void **state)
{
    fixture_t *f = *state;
    sb_verify_report_t report;
    sb_verify_config_t config = {.pg = f->pg};
    catch_up(f);
    sb_test_pg_script(f->pg, "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) "
                             "VALUES (1, 0, 19999999, 'event_domain_20000000')");
    assert_ok(sb_verify_run(&config, &report, &f->err), &f->err);
    assert_string_equal(sb_fault_name(report.fault), "none");
    assert_int_equal(report.detached_seals, 1);
}

/* ---- while others work ---- */

typedef struct appender {
    pthread_t thread;
    char *uri;
    _Atomic bool stopping;
    _Atomic int appended;
    _Atomic int64_t slowest_ms;
    _Atomic bool failed;
} appender_t;

static void *run_appender(void *context)
{
    appender_t *a = context;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = a->uri};
    a->failed = sb_pg_open(&pg, &config, NULL) != SB_OK;
    while (!a->failed && !a->stopping) {
        int64_t start_ms = sb_test_mono_ms();
        a->failed = sb_pg_script(pg, APPEND("both"), NULL) != SB_OK;
        int64_t took_ms = sb_test_mono_ms() - start_ms;
        if (took_ms > a->slowest_ms)
            a->slowest_ms = took_ms;
        a->appended++;
        sb_test_sleep_ms(1);
    }
    sb_pg_close(&pg);
    return NULL;
}

/* Not one append waited for as long, or there were many of them meanwhile: a slow commit is no wait, and
 * neither is a server that stood still. */
static void assert_went_on(const appender_t *appender, int before, int64_t waited_ms)
{
    int now = appender->appended;
    assert_soon(appender->appended > now, 10000); /* the one that was under way has ended, too */
    assert_true(appender->slowest_ms < waited_ms || now > before + 10);
}

/* Somebody has read the range and not ended: the detach waits, appenders do not, and it goes on when it is
 * run again. */
static void appenders_do_not_wait_for_a_detach_that_waits(void **state)
{
    fixture_t *f = *state;
    appender_t appender = {.uri = f->world.uri};
    sb_pg_t *slow = sb_test_pg_open(f->world.uri);
    catch_up(f);
    plan_one(f);
    sb_test_pg_script(
        slow, "SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT count(*) FROM sagabus.event");
    assert_int_equal(pthread_create(&appender.thread, NULL, run_appender, &appender), 0);
    assert_soon(appender.appended > 0, 10000);
    int before = appender.appended;
    assert_code(SB_TIMEOUT, sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 4000, &f->err),
                &f->err);
    assert_went_on(&appender, before, 3900);
    before = appender.appended;
    assert_soon(appender.appended > before + 20, 10000);
    sb_test_pg_script(slow, "COMMIT");
    plan_one(f);
    assert_ok(sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 20000, &f->err), &f->err);
    appender.stopping = true;
    assert_int_equal(pthread_join(appender.thread, NULL), 0);
    sb_pg_close(&slow);
    assert_false(appender.failed);
    print_message("%d appends beside it, the slowest %" PRId64 " ms\n", appender.appended,
                  appender.slowest_ms);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_detached WHERE done_at IS NOT NULL"), 1);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT (count(*) = max(e.version) - 1 AND min(e.version) = 2)::int FROM "
                              "sagabus.event e JOIN sagabus.stream s USING (stream_no) WHERE s.key = 'both' "
                              "AND e.class = 1"),
        1);
}

/* Somebody has appended to a stream of the range and not ended; the streams beside it are not held up for as
 * long, only for the moment in which it is found which of them it is. */
static void an_idle_appender_holds_up_no_other_stream(void **state)
{
    fixture_t *f = *state;
    appender_t appender = {.uri = f->world.uri};
    sb_pg_t *idle = sb_test_pg_open(f->world.uri);
    catch_up(f);
    plan_one(f);
    sb_test_pg_script(idle, "SET idle_in_transaction_session_timeout = 0; BEGIN;" APPEND("old"));
    assert_int_equal(pthread_create(&appender.thread, NULL, run_appender, &appender), 0);
    assert_soon(appender.appended > 0, 10000);
    int before = appender.appended;
    assert_code(SB_TIMEOUT, sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 6000, &f->err),
                &f->err);
    assert_contains(f->err.message, "holds stream number 1");
    assert_went_on(&appender, before, 5000);
    before = appender.appended;
    assert_soon(appender.appended > before, 10000);
    appender.stopping = true;
    assert_int_equal(pthread_join(appender.thread, NULL), 0);
    assert_false(appender.failed);
    sb_test_pg_script(idle, "COMMIT");
    assert_ok(sb_detach_range(f->pg, SB_CLASS_DOMAIN, &f->plan.range[0], 20000, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT first_version FROM sagabus.stream WHERE key = 'old'"), 3);
    sb_pg_close(&idle);
}

typedef struct eraser {
    pthread_t thread;
    sb_pg_t *pg;
    sb_erase_report_t report;
    sb_code_t code;
    sb_error_t err;
} eraser_t;

static void *run_eraser(void *context)
{
    eraser_t *e = context;
    sb_erase_t erase = {.reason = "asked for"};
    e->code = sb_erase_parse("order/both", &erase, &e->err);
    if (e->code == SB_OK)
        e->code = sb_erase_run(e->pg, &erase, &e->report, &e->err);
    return NULL;
}

typedef struct detacher {
    pthread_t thread;
    sb_pg_t *pg;
    _Atomic bool ended;
    sb_code_t code;
    sb_error_t err;
} detacher_t;

static void *run_detacher(void *context)
{
    detacher_t *d = context;
    d->code = sb_pg_script(
        d->pg, "ALTER TABLE sagabus.event_domain DETACH PARTITION sagabus.event_domain_20000000 CONCURRENTLY",
        &d->err);
    d->ended = true;
    return NULL;
}

static int64_t waits_for_lock(fixture_t *f, const sb_pg_t *who)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND pid = %d",
                   sb_pg_backend_pid(who));
    return sb_test_pg_int(f->pg, sql);
}

/* A range that was noted goes while the eraser lists the tables: its list says that the range is still in the
 * event table. */
static void what_is_detached_meanwhile_is_erased_too(void **state)
{
    fixture_t *f = *state;
    eraser_t eraser = {.pg = sb_test_pg_open(f->world.uri)};
    detacher_t detacher = {.pg = sb_test_pg_open(f->world.uri)};
    sb_pg_t *in_between = sb_test_pg_open(f->world.uri);
    sb_test_pg_script(f->pg, "ALTER FUNCTION sagabus.event_erase_recorded SET lock_timeout = '60s';"
                             "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) "
                             "VALUES (1, 0, 19999999, 'event_domain_20000000')");
    sb_test_pg_script(in_between, "SET idle_in_transaction_session_timeout = 0; BEGIN; LOCK TABLE "
                                  "sagabus.event_detached IN ACCESS EXCLUSIVE MODE");
    assert_int_equal(pthread_create(&eraser.thread, NULL, run_eraser, &eraser), 0);
    assert_soon(waits_for_lock(f, eraser.pg) > 0, 30000);
    assert_int_equal(pthread_create(&detacher.thread, NULL, run_detacher, &detacher), 0);
    assert_soon(detacher.ended || waits_for_lock(f, detacher.pg) > 0, 30000);
    sb_test_pg_script(in_between, "COMMIT");
    assert_int_equal(pthread_join(eraser.thread, NULL), 0);
    assert_int_equal(pthread_join(detacher.thread, NULL), 0);
    assert_ok(eraser.code, &eraser.err);
    assert_ok(detacher.code, &detacher.err);
    assert_int_equal(eraser.report.erased, 3);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_domain_20000000 WHERE data = 'null'"), 1);
    sb_pg_close(&eraser.pg);
    sb_pg_close(&detacher.pg);
    sb_pg_close(&in_between);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_range_that_is_still_needed_stays),
        CASE(an_open_saga_keeps_its_range),
        CASE(who_reads_below_is_told),
        CASE(what_was_noted_stays),
        CASE(what_was_detached_can_be_erased),
        CASE(no_view_is_built_over_a_hole),
        CASE(what_stays_of_the_other_class_is_still_checked),
        CASE(a_detach_that_is_not_ended_is_no_fault),
        CASE(the_seals_of_what_went_stay),
        CASE(appenders_do_not_wait_for_a_detach_that_waits),
        CASE(an_idle_appender_holds_up_no_other_stream),
        CASE(what_is_detached_meanwhile_is_erased_too),
    };
    return cmocka_run_group_tests_name("detach", tests, sb_test_pg_start, sb_test_pg_stop);
}
