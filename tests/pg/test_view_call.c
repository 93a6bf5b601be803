/* Views that a C function folds: the same projector, replay, switch, rollback and comparison as those by
 * rules, over random histories with versions mixed and poison in them; and whose turn it is to move them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "tests/pg/view_world.h"
#include "tests/support/process.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* The customer of a cancelled order comes from the carry; the stream's moves go when it is delivered late. */
#define SPENDING(version, fold, more)                                                                        \
    "{\"view\":\"spending\",\"version\":" version ",\"fold\":\"c:" fold "\",\"carry\":{\"columns\":[{"       \
    "\"name\":\"customer_id\",\"type\":\"text\"},{\"name\":\"amount\",\"type\":\"int8\"}],\"on\":{"          \
    "\"order.created\":{\"set\":{\"customer_id\":\"/customer_id\",\"amount\":\"/amount\"}},"                 \
    "\"order.delivered\":{\"delete\":true}}},\"tables\":[{\"name\":\"spending\",\"key\":{\"column\":"        \
    "\"customer_id\",\"type\":\"text\",\"from\":\"/customer_id\"},\"columns\":[{\"name\":\"orders\","        \
    "\"type\":\"int8\",\"default\":0},{\"name\":\"amount\",\"type\":\"int8\",\"default\":0},{\"name\":"      \
    "\"average\",\"type\":\"numeric(22,2)\"},{\"name\":\"last_at\",\"type\":\"timestamptz\"},{\"name\":"     \
    "\"body\",\"type\":\"jsonb\"}" more "],\"on\":{\"order.created\":{},\"order.cancelled\":{\"key\":{"      \
    "\"carry\":\"customer_id\"}}}},{\"name\":\"moves\",\"key\":{\"column\":\"order_id\",\"type\":\"text\","  \
    "\"from\":\"$subject\"},\"columns\":[{\"name\":\"path\",\"type\":\"text\"},{\"name\":\"steps\","         \
    "\"type\":\"int4\",\"index\":true},{\"name\":\"carrier\",\"type\":\"text\"}],\"on\":[\"order.created\"," \
    "\"order.confirmed\",\"order.cancelled\",\"order.shipped\",\"order.delivered\"]}]}"

/* ---- the functions ---- */

static sb_code_t amount_of(const sb_event_t *event, int64_t *out, sb_error_t *err)
{
    sb_scan_value_t value;
    if (!sb_scan_field(event->data, "amount", &value) || value.kind != SB_SCAN_NUMBER ||
        !sb_scan_int64(&value, out))
        return sb_fail(err, SB_INVALID, "the amount is no whole number");
    return SB_OK;
}

static sb_code_t spend(const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    char average[64];
    int64_t amount = 0;
    int64_t orders = sb_fold_int(row, "orders");
    int64_t before = sb_fold_int(row, "amount");
    if (sb_slice_is(event->type, "order.cancelled")) {
        sb_fold_set_int(row, "orders", orders - 1);
        if (orders <= 1)
            sb_fold_delete(row);
        return SB_OK;
    }
    sb_code_t code = amount_of(event, &amount, err);
    if (code != SB_OK)
        return code;
    if (amount > 0 && before > INT64_MAX - amount)
        return sb_fail(err, SB_TOO_LARGE, "%" PRId64 " and %" PRId64 " are too much", before, amount);
    orders = orders < 0 ? 1 : orders + 1;
    amount += before;
    (void)snprintf(average, sizeof average, "%" PRId64 ".%d", amount / orders,
                   (int)(amount % orders * 10 / orders)); /* of two decimals, one is written */
    sb_fold_set_int(row, "orders", orders);
    sb_fold_set_int(row, "amount", amount);
    sb_fold_set_text(row, "average", sb_slice(average));
    sb_fold_set_text(row, "body", event->data);
    if (sb_fold_is_null(row, "last_at") || sb_fold_int(row, "last_at") < event->time_us)
        sb_fold_set_int(row, "last_at", event->time_us);
    return SB_OK;
}

static sb_code_t move(const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    char path[40];
    sb_slice_t before = sb_fold_text(row, "path");
    sb_scan_value_t value;
    int64_t steps = sb_fold_int(row, "steps") + 1;
    size_t from = before.len < 30 ? 0 : before.len - 29;
    (void)snprintf(path, sizeof path, "%.*s%c", (int)(before.len - from), before.ptr ? before.ptr + from : "",
                   event->type.ptr[sizeof "order." - 1]);
    if (sb_slice_is(event->type, "order.delivered") && steps > 6) {
        sb_fold_delete(row);
        return SB_OK;
    }
    sb_fold_set_int(row, "steps", steps);
    sb_fold_set_text(row, "path", sb_slice(path));
    if (!sb_slice_is(event->type, "order.shipped"))
        return SB_OK;
    if (event->schema_version != 2)
        return sb_fail(err, SB_INTERNAL, "version %d", event->schema_version);
    if (sb_scan_at(event->data, SB_SLICE("/parcel/carrier"), &value) && value.kind == SB_SCAN_STRING)
        sb_fold_set_text(row, "carrier", (sb_slice_t){value.text.ptr + 1, value.text.len - 2});
    return SB_OK;
}

static sb_code_t fold_spending(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    assert_non_null(context);
    return strcmp(sb_fold_table(row), "moves") == 0 ? move(event, row, err) : spend(event, row, err);
}

/* As it is, and what it has not: the first letter of the customer. */
static sb_code_t fold_spending_2(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    sb_code_t code = fold_spending(context, event, row, err);
    if (code == SB_OK && strcmp(sb_fold_table(row), "spending") == 0)
        sb_fold_set_text(row, "initial", (sb_slice_t){sb_fold_text(row, "customer_id").ptr, 1});
    return code;
}

static int something;

static sb_code_t give_functions(sb_catalog_t *catalog, sb_error_t *err)
{
    return sb_catalog_fold(catalog, "spending", fold_spending, &something, err);
}

static int start(void **state)
{
    sb_world_functions = give_functions;
    return sb_test_pg_start_hasty(state);
}

static void open_world(sb_world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(world);
    assert_ok(sb_world_apply(world, "spending", SPENDING("1", "spending", ""), &err), &err);
}

/* ---- equality ---- */

static void verify(sb_world_t *world, sb_replay_report_t *report)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_config_t config = {
        .pg_uri = world->uri, .catalog = world->catalog, .view = "spending", .mode = SB_REPLAY_VERIFY};
    assert_ok(sb_replay_run(&config, report, &err), &err);
    const sb_view_comparison_t *c = &report->comparison;
    assert_true(c->done && c->live_rows > 0);
    assert_int_equal(c->missing + c->extra + c->differing, 0);
}

static void compare_once(sb_world_t *world, int seed, int pieces, int count, int keys, int poison,
                         uint32_t batch)
{
    static const struct {
        int jobs;
        int64_t range, bytes;
    } ways[] = {{1, 1000000, 0}, {3, 64, 0}, {4, 1000, 64 << 10}};
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    for (int piece = 0; piece < pieces; piece++) {
        sb_world_append(world, seed * 100 + piece, count, keys, poison);
        sb_world_project(world, batch);
    }
    char *live = sb_world_rows(world, "spending", 0);
    int64_t parked = sb_world_int(world, "SELECT count(*) FROM sagabus.view_parked JOIN "
                                         "sagabus.view_generation g USING (view, generation) WHERE g.view = "
                                         "'spending' AND g.live");
    assert_int_equal(parked > 0, poison > 0);
    assert_true(sb_world_int(world, "SELECT count(*) FROM sagabus_view.moves WHERE carrier LIKE 'p-%%'") > 1);
    assert_true(sb_world_int(world, "SELECT count(*) FROM sagabus_view.spending WHERE orders > 1 AND "
                                    "average BETWEEN (amount - orders) / orders AND amount") > 0);
    verify(world, &report);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        sb_replay_config_t config = {.pg_uri = world->uri,
                                     .catalog = world->catalog,
                                     .view = "spending",
                                     .jobs = ways[i].jobs,
                                     .range_seqs = ways[i].range,
                                     .memory_bytes = ways[i].bytes};
        assert_ok(sb_replay_run(&config, &report, &err), &err);
        assert_true(report.live && report.parked == parked);
        assert_true(ways[i].bytes == 0 || report.passes > 1);
        char *after = sb_world_rows(world, "spending", 0);
        sb_world_assert_same(live, after, "replayed");
        free(after);
    }
    free(live);
    sb_world_append(world, seed * 100 + 50, count, keys, poison); /* and on, and back */
    sb_world_project(world, batch);
    live = sb_world_rows(world, "spending", 0);
    sb_replay_config_t config = {.pg_uri = world->uri, .catalog = world->catalog, .view = "spending"};
    assert_ok(sb_view_rollback(&config, 0, &report, &err), &err);
    char *after = sb_world_rows(world, "spending", 0);
    sb_world_assert_same(live, after, "rolled back");
    free(live);
    free(after);
}

static void replay_equals_live_for_random_histories(void **state)
{
    (void)state;
    sb_world_t world;
    open_world(&world);
    compare_once(&world, 1, 1, 1500, 900, 0, 1000);
    compare_once(&world, 2, 2, 80, 25, 5, 1);
    compare_once(&world, 3, 2, 800, 200, 29, 37);
    sb_world_close(&world);
}

/* ---- poison ---- */

static void what_the_function_refuses_parks_the_key_only(void **state)
{
    (void)state;
    sb_world_t world;
    open_world(&world);
    sb_world_append(&world, 7, 200, 20, 0);
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'a'), ('order', 'b'), ('order', 'c');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, at, data) SELECT s.stream_no, "
        "v.n, "
        "t.type_no, 1, gen_random_uuid(), now(), convert_to(format('{\"customer_id\":\"%s\",\"amount\":%s}', "
        "v.who, v.amount), 'UTF8') FROM (VALUES (1, 'a', 1, 'bad', '1'), (2, 'b', 1, 'good', '10'), (3, 'c', "
        "1, "
        "'bad', '9223372036854775807'), (4, 'a', 2, 'bad', '100'), (5, 'b', 2, 'good', '20')) v (i, key, n, "
        "who, amount) JOIN sagabus.stream s USING (key) JOIN sagabus.event_type t ON t.name = "
        "'order.created' ORDER BY v.i");
    sb_world_project(&world, 1000);
    assert_int_equal(
        sb_world_int(&world, "SELECT amount FROM sagabus_view.spending WHERE customer_id = 'bad' AND dirty"),
        1);
    assert_int_equal(
        sb_world_int(&world,
                     "SELECT amount FROM sagabus_view.spending WHERE customer_id = 'good' AND NOT dirty"),
        30);
    assert_int_equal(sb_world_int(&world,
                                  "SELECT count(*) FROM sagabus.view_parked WHERE view = 'spending' AND "
                                  "table_name = 'spending' AND key = 'bad' AND error LIKE "
                                  "'%%1 and 9223372036854775807 are too much'"),
                     1);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'spending'"),
                     1);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus_view.moves WHERE dirty"), 0);
    sb_world_close(&world);
}

/* ---- crashes ---- */

static void a_killed_projector_leaves_rows_and_checkpoint_together(void **state)
{
    (void)state;
    sb_world_t world;
    open_world(&world);
    sb_world_project(&world, 100);
    for (int round = 0; round < 4; round++) {
        sb_world_append(&world, 100 + round, 200, 60, 0);
        sb_world_kill_projector(&world, "spending", round * 9);
        assert_int_equal(
            sb_test_pg_int(
                world.pg, "SELECT (SELECT sum(steps) FROM sagabus_view.moves WHERE order_id NOT IN (SELECT "
                          "s.key FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) JOIN "
                          "sagabus.stream s USING (stream_no) WHERE t.name = 'order.delivered')) - (SELECT "
                          "count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) JOIN "
                          "sagabus.stream s USING (stream_no) WHERE t.name LIKE 'order.%' AND e.seq <= "
                          "(SELECT cursor FROM sagabus.lease WHERE role = 'view:spending') AND s.key NOT IN "
                          "(SELECT s.key FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) JOIN "
                          "sagabus.stream s USING (stream_no) WHERE t.name = 'order.delivered'))"),
            0);
    }
    sb_replay_report_t report;
    sb_world_project(&world, 100);
    verify(&world, &report);
    sb_world_close(&world);
}

static void a_crash_at_each_stage_of_a_replay_leaves_the_live_view(void **state)
{
    (void)state;
    static const sb_world_end_t ends[] = {{SB_REPLAY_READ, 1, 0},
                                          {SB_REPLAY_LOAD, 1, 0},
                                          {SB_REPLAY_LOAD, 2, 32 << 10},
                                          {SB_REPLAY_CATCH_UP, 1, 0},
                                          {SB_REPLAY_SWITCH, 1, 0}};
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    open_world(&world);
    sb_world_append(&world, 21, 900, 400, 50);
    sb_world_project(&world, 100);
    char *live = sb_world_rows(&world, "spending", 0);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        sb_world_kill_replay(&world, "spending", &ends[i]);
        char *after = sb_world_rows(&world, "spending", 0);
        sb_world_assert_same(live, after, sb_replay_phase_name(ends[i].phase));
        free(after);
        assert_int_equal(sb_world_int(&world, "SELECT next FROM sagabus.lease WHERE role = 'view:spending'"),
                         1);
    }
    assert_soon(sb_world_replay(world.uri, "spending", 100, NULL, NULL, &report, &err) == SB_OK, 30000);
    char *after = sb_world_rows(&world, "spending", 0);
    sb_world_assert_same(live, after, "the replay after them");
    free(live);
    free(after);
    sb_world_close(&world);
}

/* ---- a service beside the daemon, by the public header ---- */

typedef struct service {
    sb_views_t *views;
    pthread_t thread;
} service_t;

static void *run_views(void *context)
{
    sb_views_run(context);
    return NULL;
}

static void open_service(service_t *service, const char *uri)
{
    sb_error_t err = SB_ERROR_INIT;
    const sb_views_config_t config = {.pg_uri = uri, .owner = "spender", .idle_ms = 10};
    assert_ok(sb_views_open(&service->views, &config, &err), &err);
    assert_ok(sb_views_fold(service->views, "spending", fold_spending, &something, &err), &err);
}

static void start_service(service_t *service)
{
    assert_int_equal(pthread_create(&service->thread, NULL, run_views, service->views), 0);
}

static void stop_service(service_t *service)
{
    sb_views_stop(service->views);
    assert_int_equal(pthread_join(service->thread, NULL), 0);
    sb_views_close(&service->views);
    sb_views_close(&service->views); /* NULL is fine */
}

typedef struct said {
    char state[16];
    char owner[64];
    char problem[200];
} said_t;

static sb_code_t hear(void *context, const sb_view_info_t *info, sb_error_t *err)
{
    said_t *said = context;
    (void)err;
    (void)snprintf(said->state, sizeof said->state, "%s", info->state);
    (void)snprintf(said->owner, sizeof said->owner, "%s", info->owner);
    (void)snprintf(said->problem, sizeof said->problem, "%s", info->problem);
    return SB_OK;
}

/* What `view list` of the daemon's says. */
static said_t ask(sb_world_t *world, sb_catalog_t *catalog)
{
    sb_view_reader_t *reader = NULL;
    sb_error_t err = SB_ERROR_INIT;
    said_t said = {"", "", ""};
    assert_ok(sb_view_reader_new(&reader, world->pg, catalog, &err), &err);
    assert_ok(sb_view_list(reader, SB_SLICE("spending"), hear, &said, &err), &err);
    sb_view_reader_free(&reader);
    return said;
}

static bool is_state(sb_world_t *world, sb_catalog_t *catalog, const char *state)
{
    said_t said = ask(world, catalog);
    return strcmp(said.state, state) == 0;
}

static void see_report(void *context, const char *view, const sb_replay_report_t *report)
{
    int *seen = context;
    (void)report;
    assert_string_not_equal(view, "spending");
    ++*seen;
}

static void who_has_not_the_function_leaves_the_view_alone(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t daemon;
    service_t service;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_catalog_t *bare = NULL; /* the daemon's */
    int seen = 0;
    open_world(&world);
    assert_ok(sb_catalog_new(&bare, &err), &err);
    sb_world_functions = NULL;
    sb_world_append(&world, 31, 300, 30, 0);
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &daemon, "daemon", 100);
    assert_soon(sb_world_is_at(&world, "order_summary", safe), 30000);
    said_t said = ask(&world, bare);
    assert_string_equal(said.state, "new");
    assert_contains(said.problem, "a service that has its C function \"spending\" moves it");
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE relname LIKE 'spending%%' OR "
                                          "relname LIKE 'moves%%'"),
                     0);
    sb_replay_config_t config = {.pg_uri = world.uri, .catalog = bare, .view = "spending"};
    assert_code(SB_UNSUPPORTED, sb_replay_run(&config, &report, &err), &err);
    assert_contains(err.message, "the C function \"spending\", which this program has not");
    sb_error_clear(&err);
    config = (sb_replay_config_t){.pg_uri = world.uri,
                                  .catalog = bare,
                                  .mode = SB_REPLAY_DRY,
                                  .on_report = see_report,
                                  .context = &seen};
    assert_ok(sb_replay_run(&config, &report, &err), &err);
    assert_int_equal(seen, SB_WORLD_VIEWS);
    /* the service moves this one, and no other */
    open_service(&service, world.uri);
    start_service(&service);
    assert_soon(sb_world_is_at(&world, "spending", safe), 30000);
    assert_soon(is_state(&world, bare, "live"), 30000);
    said = ask(&world, bare);
    assert_string_equal(said.owner, "spender");
    assert_string_equal(said.problem, "");
    sb_views_stats_t stats;
    assert_soon((sb_views_stats(service.views, &stats), stats.events > 0 && stats.rows > 0), 30000);
    assert_int_equal(stats.views, 1);
    assert_int_equal(stats.owned, 1);
    /* replay and back beside it, while events come */
    sb_world_append(&world, 32, 300, 30, 0);
    sb_views_replay_t replay = {.view = "spending", .jobs = 1};
    assert_ok(sb_views_replay(service.views, &replay, &report, &err), &err);
    assert_int_equal(report.generation, 2);
    assert_true(report.live);
    replay = (sb_views_replay_t){.mode = SB_REPLAY_VERIFY}; /* of all it can fold: this one */
    safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "spending", safe), 30000);
    assert_ok(sb_views_replay(service.views, &replay, &report, &err), &err);
    assert_true(report.comparison.done && report.comparison.live_rows > 0);
    assert_int_equal(report.comparison.missing + report.comparison.extra + report.comparison.differing, 0);
    config = (sb_replay_config_t){.pg_uri = world.uri, .catalog = bare, .view = "spending"};
    assert_code(SB_UNSUPPORTED, sb_view_rollback(&config, 0, &report, &err), &err);
    sb_error_clear(&err);
    assert_ok(sb_views_rollback(service.views, "spending", 0, &report, &err), &err);
    assert_int_equal(report.generation, 1);
    assert_soon(sb_world_int(&world,
                             "SELECT count(*) FROM sagabus.lease WHERE role = 'view:spending' AND owner "
                             "= 'spender' AND next = 1") == 1,
                30000);
    stop_service(&service);
    assert_soon(is_state(&world, bare, "ownerless"), 30000);
    assert_contains(ask(&world, bare).problem, "and none does now");
    sb_world_stop(&daemon);
    sb_catalog_free(&bare);
    sb_world_functions = give_functions;
    sb_world_close(&world);
}

static void another_function_comes_with_a_version_and_its_replay(void **state)
{
    (void)state;
    sb_world_t world;
    service_t old, new;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    open_world(&world);
    sb_world_append(&world, 41, 300, 30, 0);
    int64_t safe = sb_world_safe(&world);
    open_service(&old, world.uri);
    start_service(&old);
    assert_soon(sb_world_is_at(&world, "spending", safe), 30000);
    assert_ok(sb_world_apply(&world, "spending",
                             SPENDING("2", "spending_2", ",{\"name\":\"initial\",\"type\":\"text\"}"), &err),
              &err);
    sb_views_replay_t replay = {.view = "spending"};
    assert_code(SB_UNSUPPORTED, sb_views_replay(old.views, &replay, &report, &err), &err);
    assert_contains(err.message, "version 2 is folded by the C function \"spending_2\"");
    sb_error_clear(&err);
    open_service(&new, world.uri); /* which has both */
    assert_ok(sb_views_fold(new.views, "spending_2", fold_spending_2, &something, &err), &err);
    assert_code(SB_CONFLICT, sb_views_fold(new.views, "spending_2", fold_spending, &something, &err), &err);
    assert_code(SB_INVALID, sb_views_fold(new.views, "Spending", fold_spending, &something, &err), &err);
    sb_error_clear(&err);
    start_service(&new);
    assert_ok(sb_views_replay(new.views, &replay, &report, &err), &err);
    assert_int_equal(report.version, 2);
    sb_world_append(&world, 42, 300, 60, 0);
    safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "spending", safe), 30000); /* by the one that can */
    assert_int_equal(
        sb_world_int(&world, "SELECT count(*) FROM sagabus_view.spending WHERE initial IS DISTINCT "
                             "FROM 'c' AND orders > 0"),
        sb_world_int(&world, "SELECT count(*) FROM sagabus_view.spending WHERE initial IS NULL"));
    assert_true(sb_world_int(&world, "SELECT count(*) FROM sagabus_view.spending WHERE initial = 'c'") > 5);
    replay.mode = SB_REPLAY_VERIFY;
    assert_ok(sb_views_replay(new.views, &replay, &report, &err), &err);
    assert_int_equal(report.comparison.missing + report.comparison.extra + report.comparison.differing, 0);
    stop_service(&old);
    stop_service(&new);
    sb_world_close(&world);
}

/* ---- the example ---- */

static int run_example(const char *uri, const char *verb, const char *says)
{
    char environment[SB_TEST_URI + 16];
    (void)snprintf(environment, sizeof environment, "SAGABUS_PG=%s", uri);
    const char *const argv[] = {SB_TEST_LOYALTY, verb, NULL};
    const char *const variables[] = {environment, NULL};
    sb_test_process_t process = {0};
    sb_test_spawn(&process, argv, variables, NULL);
    assert_true(sb_test_output_has(&process, says, 60000));
    assert_true(sb_test_wait(&process, 60000));
    int exit_code = process.exit_code;
    sb_test_process_end(&process);
    return exit_code;
}

static void the_example_keeps_its_view(void **state)
{
    (void)state;
    char environment[SB_TEST_URI + 16];
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    sb_test_process_t process = {0};
    sb_world_open(&world);
    const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};
    assert_ok(sb_catalog_apply(world.catalog, world.pg, SB_TEST_LOYALTY_SCHEMAS, checks, &report, &err),
              &err);
    sb_world_append(&world, 51, 600, 60, 0);
    int64_t safe = sb_world_safe(&world);
    (void)snprintf(environment, sizeof environment, "SAGABUS_PG=%s", world.uri);
    const char *const argv[] = {SB_TEST_LOYALTY, NULL};
    const char *const variables[] = {environment, NULL};
    sb_test_spawn(&process, argv, variables, NULL);
    assert_soon(sb_world_is_at(&world, "loyalty", safe), 30000);
    assert_int_equal(run_example(world.uri, "verify", " 0 are not as their events make them"), 0);
    assert_int_equal(run_example(world.uri, "replay", "generation 2 is live"), 0);
    assert_int_equal(run_example(world.uri, "dance", "usage: "), 2);
    sb_test_signal(&process, SIGTERM);
    assert_true(sb_test_wait(&process, 60000));
    assert_int_equal(process.exit_code, 0);
    sb_test_process_end(&process);
    sb_world_assert_alike(&world, "loyalty", 1, 2);
    assert_true(sb_world_int(&world,
                             "SELECT count(*) FROM sagabus_view.loyalty WHERE tier = 'gold' AND points "
                             ">= 500 AND orders > 0") > 0);
    assert_int_equal(sb_world_int(&world,
                                  "SELECT count(*) FROM sagabus_view.loyalty WHERE (tier = 'gold') <> "
                                  "(points >= 500)"),
                     0);
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_equals_live_for_random_histories),
        cmocka_unit_test(what_the_function_refuses_parks_the_key_only),
        cmocka_unit_test(a_killed_projector_leaves_rows_and_checkpoint_together),
        cmocka_unit_test(a_crash_at_each_stage_of_a_replay_leaves_the_live_view),
        cmocka_unit_test(who_has_not_the_function_leaves_the_view_alone),
        cmocka_unit_test(another_function_comes_with_a_version_and_its_replay),
        cmocka_unit_test(the_example_keeps_its_view),
    };
    return cmocka_run_group_tests(tests, start, sb_test_pg_stop);
}
