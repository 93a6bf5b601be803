/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/view_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const views[] = {"order_summary", "customer_orders", "payments_daily"};

/* ---- equality ---- */

/* More of a random history, folded live in pieces by batches of one size, then replayed by ranges of another.
 */
static void compare_once(sb_world_t *world, int seed, int pieces, int count, int keys, int poison,
                         uint32_t batch, int64_t range)
{
    sb_error_t err = SB_ERROR_INIT;
    for (int piece = 0; piece < pieces; piece++) {
        sb_world_append(world, seed * 100 + piece, count, keys, poison);
        if (piece + 1 < pieces)
            sb_world_project(world, batch);
    }
    sb_world_project(world, batch);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        char what[128];
        (void)snprintf(what, sizeof what, "seed %d, %s, batch %u, range %" PRId64, seed, views[i], batch,
                       range);
        sb_replay_report_t report;
        char *live = sb_world_rows(world, views[i], 0);
        assert_ok(sb_world_replay(world->uri, views[i], range, NULL, NULL, &report, &err), &err);
        assert_int_equal(report.generation, seed + 1);
        assert_true(report.events > 0 && report.rows > 0);
        char *replayed = sb_world_rows(world, views[i], report.generation);
        char *shown = sb_world_rows(world, views[i], 0);
        char *kept = sb_world_rows(world, views[i], report.generation - 1);
        sb_world_assert_same(live, replayed, what);
        sb_world_assert_same(live, shown, what);
        sb_world_assert_same(live, kept, what); /* the old generation stays */
        free(live);
        free(replayed);
        free(shown);
        free(kept);
    }
}

static void replay_equals_live_for_random_histories(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    compare_once(&world, 1, 3, 100, 15, 0, 1, 1); /* a transaction and a COPY an event: few of them */
    compare_once(&world, 2, 1, 3000, 40, 0, 1000, 1000000);
    compare_once(&world, 3, 4, 400, 300, 47, 7, 100);
    compare_once(&world, 4, 2, 2000, 5, 31, 333, 777);
    compare_once(&world, 5, 5, 400, 1000, 11, 64, 50);
    sb_world_close(&world);
}

static void the_next_replay_takes_the_place_of_the_one_before(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 9, 300, 20, 9);
    sb_world_project(&world, 100);
    for (int64_t generation = 2; generation <= 4; generation++) {
        assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
        assert_int_equal(report.generation, generation);
        /* the live one and the one before it stand, with what is parked in them, and no other */
        assert_int_equal(sb_world_int(&world,
                                      "SELECT count(*) FROM pg_tables WHERE schemaname = 'sagabus_view' AND "
                                      "tablename LIKE 'order_summary_g%%'"),
                         2);
        assert_int_equal(sb_world_int(&world,
                                      "SELECT count(DISTINCT generation) FROM sagabus.view_parked WHERE view "
                                      "= 'order_summary'"),
                         2);
    }
    sb_world_project(&world, 100); /* and the projector goes on from it */
    sb_world_append(&world, 10, 300, 20, 0);
    sb_world_project(&world, 100);
    char *live = sb_world_rows(&world, "order_summary", 0);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    char *replayed = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(live, replayed, "after four replays");
    free(live);
    free(replayed);
    sb_world_close(&world);
}

static void a_view_that_was_never_projected_can_be_replayed(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    assert_ok(sb_world_replay(world.uri, "customer_orders", 0, NULL, NULL, &report, &err),
              &err); /* of nothing */
    assert_int_equal(report.events, 0);
    sb_world_append(&world, 11, 500, 30, 0);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    sb_world_project(&world, 50);
    char *shown = sb_world_rows(&world, "order_summary", 0);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    char *again = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(shown, again, "order_summary");
    free(shown);
    free(again);
    sb_world_close(&world);
}

/* ---- crashes ---- */

static void a_crash_at_each_stage_leaves_the_live_view(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 21, 600, 30, 50);
    sb_world_project(&world, 100);
    char *live = sb_world_rows(&world, "order_summary", 0);
    static const sb_world_end_t ends[] = {{SB_REPLAY_READ, 1, 0},        {SB_REPLAY_LOAD, 1, 0},
                                          {SB_REPLAY_READ, 2, 64 << 10}, {SB_REPLAY_LOAD, 2, 64 << 10},
                                          {SB_REPLAY_CATCH_UP, 1, 0},    {SB_REPLAY_SWITCH, 1, 0}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        sb_world_kill_replay(&world, "order_summary", &ends[i]);
        char *after = sb_world_rows(&world, "order_summary", 0);
        sb_world_assert_same(live, after, sb_replay_phase_name(ends[i].phase));
        free(after);
        assert_int_equal(
            sb_world_int(&world, "SELECT next FROM sagabus.lease WHERE role = 'view:order_summary'"), 1);
    }
    /* what the last two left is swept by the replay that ends */
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE relname = 'order_summary_g2'"),
                     1);
    assert_soon(sb_world_replay(world.uri, "order_summary", 100, NULL, NULL, &report, &err) == SB_OK, 10000);
    char *after = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(live, after, "the replay after them");
    assert_int_equal(sb_world_int(&world,
                                  "SELECT count(DISTINCT generation) FROM sagabus.view_parked WHERE view = "
                                  "'order_summary'"),
                     2);
    free(after);
    free(live);
    sb_world_close(&world);
}

static sb_code_t refuse_in_phase(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    const sb_replay_phase_t *phase = context;
    return progress->phase == *phase ? sb_fail(err, SB_STOPPED, "stopped by the test") : SB_OK;
}

static void a_listener_can_stop_a_replay_at_each_stage(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 22, 600, 30, 0);
    sb_world_project(&world, 100);
    for (int phase = SB_REPLAY_READ; phase <= SB_REPLAY_SWITCH; phase++) {
        sb_error_t err = SB_ERROR_INIT;
        sb_replay_phase_t end = (sb_replay_phase_t)phase;
        assert_code(SB_STOPPED,
                    sb_world_replay(world.uri, "order_summary", 100, refuse_in_phase, &end, &report, &err),
                    &err);
        assert_int_equal(
            sb_world_int(&world, "SELECT next FROM sagabus.lease WHERE role = 'view:order_summary'"), 1);
    }
    sb_world_close(&world);
}

/* Rows in several passes, and by several connections, are those of one. */
static void a_tiny_memory_cap_takes_passes_and_gives_the_same_rows(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    sb_world_append(&world, 23, 5000, 3000, 13);
    sb_world_project(&world, 1000);
    for (size_t i = 0; i < 2; i++) {
        char *live = sb_world_rows(&world, views[i], 1);
        static const struct {
            int jobs;
            int64_t range, bytes;
        } ways[] = {{1, 100, 0}, {3, 64, 0}, {4, 100, 500 << 10}};
        for (size_t k = 0; k < 3; k++) {
            sb_error_t err = SB_ERROR_INIT;
            sb_replay_report_t report;
            sb_replay_config_t config = {.pg_uri = world.uri,
                                         .catalog = world.catalog,
                                         .view = views[i],
                                         .jobs = ways[k].jobs,
                                         .range_seqs = ways[k].range,
                                         .memory_bytes = i == 0 ? ways[k].bytes : ways[k].bytes / 3};
            assert_ok(sb_replay_run(&config, &report, &err), &err);
            assert_true(ways[k].bytes == 0 ? report.passes == 1 : report.passes > 1);
            char *after = sb_world_rows(&world, views[i], 0);
            sb_world_assert_same(live, after, views[i]);
            free(after);
        }
        free(live);
    }
    sb_world_close(&world);
}

/* ---- comparing, going back ---- */

typedef struct seen {
    int count;
    char first[200];
    int reports;
} seen_t;

static sb_code_t see_difference(void *context, const sb_view_difference_t *d, sb_error_t *err)
{
    seen_t *seen = context;
    (void)err;
    if (seen->count++ == 0)
        (void)snprintf(seen->first, sizeof seen->first, "%s|%s|%s|%s|%s", d->table, d->key,
                       d->column ? d->column : "-", d->live ? d->live : "-", d->folded ? d->folded : "-");
    return SB_OK;
}

static void see_report(void *context, const char *view, const sb_replay_report_t *report)
{
    seen_t *seen = context;
    (void)view;
    (void)report;
    seen->reports++;
}

static void compare_view(sb_world_t *world, const char *view, sb_replay_mode_t mode, int64_t bytes,
                         sb_replay_report_t *report, seen_t *seen)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_config_t config = {.pg_uri = world->uri,
                                 .catalog = world->catalog,
                                 .view = view,
                                 .mode = mode,
                                 .diff = true,
                                 .range_seqs = 200,
                                 .memory_bytes = bytes,
                                 .on_difference = see_difference,
                                 .on_report = see_report,
                                 .context = seen};
    *seen = (seen_t){0};
    assert_ok(sb_replay_run(&config, report, &err), &err);
    assert_true(report->comparison.done);
    assert_int_equal(report->comparison.tables_left_out, 0);
}

static void assert_alike(const sb_replay_report_t *report)
{
    const sb_view_comparison_t *c = &report->comparison;
    assert_true(c->live_rows > 0);
    assert_int_equal(c->live_rows, c->folded_rows);
    assert_int_equal(c->missing + c->extra + c->differing, 0);
    assert_true(c->live_checksum == c->folded_checksum);
}

/* A view whose rows are all of the types that are compared in their own way. */
static void verify_names_what_is_not_as_its_events_make_it(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    seen_t seen;
    sb_world_open(&world);
    sb_world_append(&world, 61, 3000, 2000, 17);
    sb_world_project(&world, 500);
    for (size_t i = 0; i < 2; i++) {
        compare_view(&world, views[i], SB_REPLAY_VERIFY, 0, &report, &seen);
        assert_alike(&report);
        assert_int_equal(seen.count, 0);
        assert_int_equal(report.generation, 0);
    }
    compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 300 << 10, &report, &seen); /* by passes */
    assert_true(report.passes > 1);
    assert_alike(&report);
    sb_test_pg_script(world.pg,
                      "UPDATE sagabus_view.order_summary_g1 SET amount = amount + 1 WHERE order_id = (SELECT "
                      "min(order_id) FROM sagabus_view.order_summary_g1 WHERE amount IS NOT NULL);"
                      "DELETE FROM sagabus_view.order_summary_g1 WHERE order_id = (SELECT max(order_id) FROM "
                      "sagabus_view.order_summary_g1);"
                      "INSERT INTO sagabus_view.order_summary_g1 (order_id, dirty) VALUES ('zz', false)");
    for (int bytes = 0; bytes <= 300 << 10; bytes += 300 << 10) {
        compare_view(&world, "order_summary", SB_REPLAY_VERIFY, bytes, &report, &seen);
        assert_int_equal(report.comparison.differing, 1);
        assert_int_equal(report.comparison.missing, 1);
        assert_int_equal(report.comparison.extra, 1);
        assert_int_equal(seen.count, 3);
        assert_true(report.comparison.live_checksum != report.comparison.folded_checksum);
    }
    compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_contains(seen.first, "|amount|");
    /* a replay that is asked to says so too, and mends it */
    compare_view(&world, "order_summary", SB_REPLAY_DRY, 0, &report, &seen);
    assert_int_equal(seen.count, 3);
    assert_int_equal(sb_world_int(&world, "SELECT next FROM sagabus.lease WHERE role = 'view:order_summary'"),
                     1);
    compare_view(&world, "order_summary", SB_REPLAY_BUILD, 0, &report, &seen);
    assert_int_equal(seen.count, 3);
    assert_true(report.live);
    compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_alike(&report);
    /* a row that is called whole and is not, and the other way round */
    sb_test_pg_script(world.pg, "UPDATE sagabus_view.order_summary_g2 SET dirty = NOT dirty WHERE order_id = "
                                "(SELECT min(order_id) FROM sagabus_view.order_summary_g2)");
    compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_int_equal(report.comparison.differing, 1);
    assert_contains(seen.first, "|dirty|");
    assert_true(report.comparison.live_checksum != report.comparison.folded_checksum);
    sb_world_close(&world);
}

static void verify_goes_on_beside_the_projector(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    sb_world_projector_t p;
    seen_t seen;
    sb_world_open(&world);
    sb_world_append(&world, 62, 1500, 100, 0);
    sb_world_start(&world, &p, "live", 7);
    for (int i = 0; i < 2; i++) {
        int64_t safe = sb_world_safe(&world);
        assert_soon(sb_world_is_at(&world, "order_summary", safe), 20000);
        sb_world_append(&world, 63 + i, 1500, 100, 0);
        compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 0, &report, &seen);
        assert_alike(&report);
        assert_true(report.comparison.seq >= safe);
    }
    sb_world_stop(&p);
    sb_world_close(&world);
}

static void a_rollback_catches_up_and_goes_both_ways(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    seen_t seen;
    sb_world_open(&world);
    sb_replay_config_t config = {.pg_uri = world.uri, .catalog = world.catalog, .view = "order_summary"};
    sb_world_append(&world, 71, 900, 40, 31);
    sb_world_project(&world, 100);
    assert_code(SB_NOT_FOUND, sb_view_rollback(&config, 0, &report, &err), &err);
    sb_error_clear(&err);
    sb_test_pg_script(world.pg,
                      "CREATE VIEW public.mine AS SELECT count(*) AS n FROM sagabus_view.order_summary");
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    sb_world_append(&world, 72, 900, 60, 0);
    sb_world_project(&world, 100);
    char *live = sb_world_rows(&world, "order_summary", 0);
    static const int64_t expected[] = {1, 2, 1};
    for (int i = 0; i < 3; i++) {
        assert_ok(sb_view_rollback(&config, 0, &report, &err), &err);
        assert_int_equal(report.generation, expected[i]);
        assert_true(i > 0 || report.events > 0);
        char *shown = sb_world_rows(&world, "order_summary", 0);
        sb_world_assert_same(live, shown, "rolled back");
        free(shown);
    }
    sb_world_append(&world, 73, 300, 60, 0);
    sb_world_project(&world, 100); /* and the projector goes on with it */
    compare_view(&world, "order_summary", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_alike(&report);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.generation, 3);
    /* the one that was live is kept, the one above it is not */
    assert_int_equal(sb_world_int(&world,
                                  "SELECT generation FROM sagabus.view_generation WHERE NOT live AND view = "
                                  "'order_summary'"),
                     1);
    free(live);
    sb_world_close(&world);
}

static void all_views_are_rebuilt_in_one_pass(void **state)
{
    (void)state;
    sb_world_t world;
    sb_replay_report_t report;
    seen_t seen;
    sb_world_open(&world);
    sb_world_append(&world, 81, 2500, 1500, 19);
    sb_world_project(&world, 500);
    char *before[2];
    for (size_t i = 0; i < 2; i++)
        before[i] = sb_world_rows(&world, views[i], 0);
    int64_t count = sb_world_int(&world, "SELECT count(*) FROM sagabus.artifact WHERE kind = 'view'");
    for (int64_t bytes = 0; bytes <= 700 << 10; bytes += 700 << 10) {
        sb_error_t err = SB_ERROR_INIT;
        sb_replay_config_t config = {.pg_uri = world.uri,
                                     .catalog = world.catalog,
                                     .jobs = 3,
                                     .range_seqs = 50,
                                     .memory_bytes = bytes,
                                     .keep_old = true,
                                     .on_report = see_report,
                                     .context = &seen};
        seen = (seen_t){0};
        assert_ok(sb_replay_run(&config, &report, &err), &err);
        assert_int_equal(seen.reports, count);
        assert_true(bytes == 0 ? report.passes == 1 : report.passes > 1);
        for (size_t i = 0; i < 2; i++) {
            char *after = sb_world_rows(&world, views[i], 0);
            sb_world_assert_same(before[i], after, views[i]);
            free(after);
        }
    }
    assert_int_equal(
        sb_world_int(&world, "SELECT count(*) FROM sagabus.view_generation WHERE view = 'order_summary'"), 3);
    for (size_t i = 0; i < 2; i++)
        free(before[i]);
    sb_world_close(&world);
}

/* The view as it was: beside the live one, until the next replay. */
static void a_view_is_built_as_of_an_event(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 91, 500, 30, 0);
    sb_world_project(&world, 100);
    char *then = sb_world_rows(&world, "order_summary", 1);
    int64_t seq = sb_world_safe(&world);
    sb_world_append(&world, 92, 500, 60, 0);
    sb_world_project(&world, 100);
    char *now = sb_world_rows(&world, "order_summary", 0);
    sb_replay_config_t config = {
        .pg_uri = world.uri, .catalog = world.catalog, .view = "order_summary", .until_seq = seq};
    assert_ok(sb_replay_run(&config, &report, &err), &err);
    assert_false(report.live);
    assert_int_equal(report.generation, 2);
    char *was = sb_world_rows(&world, "order_summary", 2);
    char *live = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(then, was, "as it was");
    sb_world_assert_same(now, live, "as it is");
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.generation, 2);
    config.diff = true;
    assert_code(SB_INVALID, sb_replay_run(&config, &report, &err), &err);
    free(then);
    free(now);
    free(was);
    free(live);
    sb_world_close(&world);
}

/* Two million events: by passes and by several connections, as the projector has them. */
static void a_long_history_is_rebuilt_as_it_was_projected(void **state)
{
    (void)state;
    if (!getenv("SB_TEST_LONG"))
        skip();
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    seen_t seen;
    /* Less than all rows of the view take; what customer_orders carries is in memory in each pass. */
    const int64_t cap[] = {24 << 20, 14 << 20};
    sb_world_open(&world);
    for (int piece = 0; piece < 20; piece++) {
        sb_world_append(&world, 300 + piece, 100000, 100000, 99991);
        sb_world_project(&world, 1000);
    }
    for (size_t i = 0; i < 2; i++) {
        char *live = sb_world_rows(&world, views[i], 1);
        compare_view(&world, views[i], SB_REPLAY_VERIFY, 0, &report, &seen);
        assert_alike(&report);
        sb_replay_config_t config = {.pg_uri = world.uri,
                                     .catalog = world.catalog,
                                     .view = views[i],
                                     .jobs = 3,
                                     .memory_bytes = cap[i]};
        assert_ok(sb_replay_run(&config, &report, &err), &err);
        assert_true(report.passes > 1);
        char *after = sb_world_rows(&world, views[i], 0);
        sb_world_assert_same(live, after, views[i]);
        free(live);
        free(after);
    }
    sb_world_close(&world);
}

/* ---- others at work ---- */

typedef struct rival {
    const char *uri;
    sb_code_t code;
} rival_t;

static sb_code_t start_a_rival(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    rival_t *rival = context;
    sb_replay_report_t report;
    (void)err;
    if (progress->phase == SB_REPLAY_LOAD && rival->code == SB_OK)
        rival->code = sb_world_replay(rival->uri, "order_summary", 0, NULL, NULL, &report, NULL);
    return SB_OK;
}

static void a_second_replay_of_a_view_is_refused(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    rival_t rival = {world.uri, SB_OK};
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, start_a_rival, &rival, &report, &err), &err);
    assert_int_equal(rival.code, SB_BUSY);
    assert_code(SB_NOT_FOUND, sb_world_replay(world.uri, "nope", 0, NULL, NULL, &report, &err), &err);
    assert_contains(err.message, "customer_orders, inventory_levels, order_summary");
    sb_world_close(&world);
}

typedef struct feeder {
    sb_world_t *world;
    int seed;
} feeder_t;

static sb_code_t append_more(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    feeder_t *feeder = context;
    (void)err;
    if (progress->phase != SB_REPLAY_DONE)
        sb_world_append(feeder->world, feeder->seed++, progress->phase == SB_REPLAY_LOAD ? 3000 : 200, 50, 0);
    return SB_OK;
}

static void appends_and_the_live_projector_go_on_during_a_replay(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_projector_t p;
    sb_world_open(&world);
    sb_world_append(&world, 31, 2000, 50, 0);
    sb_world_start(&world, &p, "live", 50);
    feeder_t feeder = {&world, 32};
    for (int i = 0; i < 3; i++)
        assert_ok(sb_world_replay(world.uri, "order_summary", 500, append_more, &feeder, &report, &err),
                  &err);
    assert_int_equal(report.generation, 4);
    sb_world_append(&world, 99, 500, 50, 0);
    int64_t safe = sb_world_safe(&world);
    assert_soon(sb_world_is_at(&world, "order_summary", safe), 20000);
    sb_world_stop(&p);
    char *live = sb_world_rows(&world, "order_summary", 0);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    char *replayed = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(live, replayed, "order_summary");
    free(live);
    free(replayed);
    sb_world_close(&world);
}

static void the_switch_keeps_grants_and_what_people_built(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 41, 300, 20, 0);
    sb_world_project(&world, 100);
    sb_test_pg_script(world.pg,
                      "CREATE VIEW public.mine AS SELECT status, count(*) AS n FROM "
                      "sagabus_view.order_summary GROUP BY 1; GRANT SELECT ON sagabus_view.order_summary TO "
                      "PUBLIC");
    int64_t before = sb_test_pg_int(world.pg, "SELECT sum(n)::bigint FROM public.mine");
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT sum(n)::bigint FROM public.mine"), before);
    assert_int_equal(
        sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE oid = "
                             "'sagabus_view.order_summary'::regclass AND relacl::text LIKE '%%{=r/%%' OR "
                             "relacl::text LIKE '%%,=r/%%' AND relname = 'order_summary'"),
        1);
    sb_world_append(&world, 42, 300, 40, 0);
    sb_world_project(&world, 100);
    assert_true(sb_test_pg_int(world.pg, "SELECT sum(n)::bigint FROM public.mine") > before);
    sb_world_close(&world);
}

static void register_version(sb_world_t *world, int version, const char *columns)
{
    char sql[2048];
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'view', 'order_summary', %d, "
        "sha256(b), b FROM (SELECT convert_to('{\"tables\":[{\"columns\":[%s],\"key\":{\"column\":"
        "\"order_id\",\"from\":\"$subject\",\"type\":\"text\"},\"name\":\"order_summary\",\"on\":{"
        "\"order.created\":{\"set\":{\"amount\":\"/amount\"}}}}],\"version\":%d,\"view\":"
        "\"order_summary\"}', 'UTF8') AS b) x",
        version, columns, version);
    sb_test_pg_script(world->pg, sql);
}

static void a_new_version_comes_with_its_replay(void **state)
{
    (void)state;
    static const char kept[] = "{\"name\":\"customer_id\",\"type\":\"text\"},{\"name\":\"status\",\"type\":"
                               "\"text\"},{\"name\":\"amount\","
                               "\"type\":\"int8\"},{\"name\":\"currency\",\"type\":\"text\"},{\"name\":"
                               "\"cancel_reason\",\"type\":\"text\"},"
                               "{\"name\":\"created_at\",\"type\":\"timestamptz\"},{\"name\":\"updated_at\","
                               "\"type\":\"timestamptz\"},{\"name\":\"carrier\",\"type\":\"text\"}";
    char extended[1024];
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 51, 300, 20, 0);
    sb_world_project(&world, 100);
    char *before = sb_world_rows(&world, "order_summary", 0);
    register_version(&world, 2, "{\"name\":\"amount\",\"type\":\"int8\"}");
    assert_code(SB_CONFLICT, sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_contains(err.message, "do not extend");
    sb_world_project(&world, 100); /* which stays with the version it has */
    char *after = sb_world_rows(&world, "order_summary", 0);
    sb_world_assert_same(before, after, "order_summary");
    (void)snprintf(extended, sizeof extended, "%s,{\"name\":\"more\",\"type\":\"bool\",\"default\":true}",
                   kept);
    register_version(&world, 3, extended);
    sb_error_clear(&err);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.version, 3);
    assert_true(
        sb_world_int(&world,
                     "SELECT count(*) FROM sagabus_view.order_summary WHERE more AND status IS NULL") > 0);
    sb_world_append(&world, 52, 300, 40, 0);
    sb_world_project(&world, 100);
    free(before);
    free(after);
    sb_world_close(&world);
}

typedef struct waiting {
    int asked; /* since the switch began */
    int stop_at;
    sb_pg_t *reader; /* whose transaction ends at release_at */
    int release_at;
} waiting_t;

static sb_code_t while_it_waits(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    waiting_t *w = context;
    w->asked += progress->phase == SB_REPLAY_SWITCH;
    if (w->stop_at && w->asked == w->stop_at)
        return sb_fail(err, SB_STOPPED, "enough");
    if (w->release_at && w->asked == w->release_at && w->reader) {
        sb_pg_rollback(w->reader);
        w->reader = NULL;
    }
    return SB_OK;
}

/* SB_TEST_LONG=1: a reader of half a minute; what is rebuilt must not be thrown away for it. */
static void a_switch_waits_for_a_reader_and_can_be_stopped(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 57, 300, 20, 0);
    sb_world_project(&world, 100);
    sb_pg_t *reader = sb_test_pg_open(world.uri);
    sb_test_pg_script(reader,
                      "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT count(*) FROM "
                      "sagabus_view.order_summary");
    waiting_t waiting = {.stop_at = 3};
    assert_code(SB_STOPPED,
                sb_world_replay(world.uri, "order_summary", 0, while_it_waits, &waiting, &report, &err),
                &err);
    sb_error_clear(&err);
    waiting = (waiting_t){.reader = reader, .release_at = getenv("SB_TEST_LONG") ? 25 : 4};
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, while_it_waits, &waiting, &report, &err), &err);
    assert_true(report.live);
    assert_null(waiting.reader);
    sb_pg_close(&reader);
    sb_world_close(&world);
}

static void register_text(sb_world_t *world, const char *name, int version, const char *body)
{
    char sql[2048];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'view', '%s', %d, "
                   "sha256(b), b FROM (SELECT convert_to('%s', 'UTF8') AS b) x",
                   name, version, body);
    sb_test_pg_script(world->pg, sql);
}

/* PostgreSQL writes jsonb in its own way, so every value of these columns is asked about. */
static void verify_takes_a_date_for_a_key_and_each_jsonb_column(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    seen_t seen;
    sb_world_open(&world);
    register_text(&world, "shipped_daily", 1,
                  "{\"tables\":[{\"columns\":[{\"name\":\"one\",\"type\":\"jsonb\"},{\"name\":\"two\","
                  "\"type\":\"jsonb\"}],\"key\":{\"column\":\"day\",\"from\":{\"date\":\"$time\",\"zone\":"
                  "\"UTC\"},\"type\":\"date\"},\"name\":\"shipped_daily\",\"on\":{\"order.shipped\":{"
                  "\"set\":{\"one\":\"/parcel\",\"two\":\"/parcel\"}}}}],\"version\":1,\"view\":"
                  "\"shipped_daily\"}");
    sb_world_append(&world, 55, 300, 20, 0);
    assert_ok(sb_world_replay(world.uri, "shipped_daily", 0, NULL, NULL, &report, &err), &err);
    compare_view(&world, "shipped_daily", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_alike(&report);
    sb_test_pg_script(world.pg, "UPDATE sagabus_view.shipped_daily_g2 SET two = '{\"carrier\": \"nobody\"}'");
    compare_view(&world, "shipped_daily", SB_REPLAY_VERIFY, 0, &report, &seen);
    assert_int_equal(report.comparison.differing, report.comparison.live_rows);
    assert_contains(seen.first, "|two|{\"carrier\": \"nobody\"}|");
    sb_world_close(&world);
}

/* Its SQL view stays as it was, and with it the rows that people see through it. */
static void a_version_without_a_table_can_be_replayed_again_and_again(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_world_append(&world, 56, 300, 20, 0);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    int64_t rows = sb_world_int(&world, "SELECT count(*) FROM sagabus_view.order_summary");
    register_text(&world, "order_summary", 2,
                  "{\"tables\":[{\"columns\":[{\"name\":\"amount\",\"type\":\"int8\"}],\"key\":{\"column\":"
                  "\"order_id\",\"from\":\"$subject\",\"type\":\"text\"},\"name\":\"order_amounts\",\"on\":{"
                  "\"order.created\":{\"set\":{\"amount\":\"/amount\"}}}}],\"version\":2,\"view\":"
                  "\"order_summary\"}");
    for (int i = 0; i < 3; i++)
        assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.version, 2);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus_view.order_summary"), rows);
    sb_world_close(&world);
}

/* What was detached below the place of the generation to go back to is not needed for it. */
static void a_rollback_needs_only_what_came_since(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_world_open(&world);
    sb_replay_config_t config = {.pg_uri = world.uri, .catalog = world.catalog, .view = "order_summary"};
    sb_world_append(&world, 75, 300, 40, 0);
    sb_world_project(&world, 100);
    assert_ok(sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    sb_world_append(&world, 76, 300, 40, 0);
    sb_world_project(&world, 100);
    sb_test_pg_script(world.pg, "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf, done_at) "
                                "VALUES (1, 0, 100, 'gone', now())");
    assert_code(SB_GONE, sb_world_replay(world.uri, "order_summary", 0, NULL, NULL, &report, &err), &err);
    assert_ok(sb_view_rollback(&config, 0, &report, &err), &err);
    assert_int_equal(report.generation, 1);
    sb_test_pg_script(world.pg, "UPDATE sagabus.view_generation SET seq = 50 WHERE NOT live");
    assert_code(SB_GONE, sb_view_rollback(&config, 0, &report, &err), &err);
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_equals_live_for_random_histories),
        cmocka_unit_test(the_next_replay_takes_the_place_of_the_one_before),
        cmocka_unit_test(a_view_that_was_never_projected_can_be_replayed),
        cmocka_unit_test(a_crash_at_each_stage_leaves_the_live_view),
        cmocka_unit_test(a_listener_can_stop_a_replay_at_each_stage),
        cmocka_unit_test(a_tiny_memory_cap_takes_passes_and_gives_the_same_rows),
        cmocka_unit_test(verify_names_what_is_not_as_its_events_make_it),
        cmocka_unit_test(verify_goes_on_beside_the_projector),
        cmocka_unit_test(a_rollback_catches_up_and_goes_both_ways),
        cmocka_unit_test(a_rollback_needs_only_what_came_since),
        cmocka_unit_test(all_views_are_rebuilt_in_one_pass),
        cmocka_unit_test(a_view_is_built_as_of_an_event),
        cmocka_unit_test(a_long_history_is_rebuilt_as_it_was_projected),
        cmocka_unit_test(a_second_replay_of_a_view_is_refused),
        cmocka_unit_test(appends_and_the_live_projector_go_on_during_a_replay),
        cmocka_unit_test(the_switch_keeps_grants_and_what_people_built),
        cmocka_unit_test(a_new_version_comes_with_its_replay),
        cmocka_unit_test(a_switch_waits_for_a_reader_and_can_be_stopped),
        cmocka_unit_test(verify_takes_a_date_for_a_key_and_each_jsonb_column),
        cmocka_unit_test(a_version_without_a_table_can_be_replayed_again_and_again),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start_hasty, sb_test_pg_stop);
}
