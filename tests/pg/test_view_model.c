/* Random histories over every operation of the algebra: what a view shows when it was folded live, by batches
 * of any size, must be what a replay by ranges of any size makes of the same events, byte for byte, with what
 * is parked. A history that fails is made shorter while it still fails, and printed.
 *
 * Some seconds; SB_TEST_LONG=1: some minutes. SB_TEST_SEED repeats a run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_batch.h"
#include "events/view/view_generation.h"
#include "tests/pg/view_world.h"
#include "tests/support/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVENTS_MAX 400
#define VIEW       "everything"

static sb_tally_t tally; /* of the history at hand */
static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};

/* ---- events: everything about one follows from its seed ---- */

static unsigned pick(unsigned *random, unsigned count)
{
    return (unsigned)rand_r(random) / 7 % count;
}

static const char *one_of(unsigned *random, const char *const *values, unsigned count)
{
    return values[pick(random, count)];
}

#define ONE_OF(random, values) one_of(random, values, sizeof(values) / sizeof *(values))

static void add_member(sb_buf_t *out, unsigned *random, const char *name, const char *text)
{
    if (pick(random, 6) != 0) /* now and then a member is not there */
        sb_buf_printf(out, "%s\"%s\":%s%s", out->len > 1 ? "," : "", name, pick(random, 2) ? " " : "", text);
}

/* Mostly what a column takes; of each kind some that it does not. */
static void make_body(unsigned *random, bool old, sb_buf_t *out)
{
    static const char *const owners[] = {"\"ann\"", "\"bob\"",          "\"a/b~c\"", "\"\\u00e9\\n\"", "\"\"",
                                         "null",    "\"a\\/b\\u007e\"", "\"ann\"",   "\"bob\""};
    static const char *const decimals[] = {"1.5", "\"2.25\"", "-0.001", "1e2",      "\"-7\"",
                                           "0",   "null",     "12.50",  "-3.125",   "\"0.10\"",
                                           "99",  "-40",      "3E-1",   "1000000.5"};
    static const char *const bad_decimals[] = {"0.0001", "\"x\"",  "123456789012",
                                               "true",   "\"1e\"", "999999999.999"};
    static const char *const texts[] = {"\"x\"", "\"y y\"", "\"\\ud83d\\ude00\"", "\"\\\"q\\\\\"",
                                        "\"z\"", "null",    "\"\xc3\xa9\""};
    static const char *const docs[] = {"{\"b\" : 1.0, \"a\":[1e2, null ]}",
                                       "[ ]",
                                       "\"t\"",
                                       "12.50",
                                       "{}",
                                       "null",
                                       "[[\"]\" , {\"k\":\"}\"}],1]",
                                       "{\"a\":1,\"a\":2}"};
    static const char *const days[] = {"\"2026-02-28\"", "\"2024-02-29\"", "\"1999-12-31\"", "\"2026-11-21\"",
                                       "null"};
    static const char *const flags[] = {"true", "false", "null", "true", "false"};
    static const char *const bad[] = {
        "[]", "{}", "1.5", "\"\\u0000\"", "9223372036854775807", "\"2026-02-30\""};
    char text[64];
    bool poison = pick(random, 60) == 0;
    sb_buf_add_char(out, '{');
    add_member(out, random, "owner",
               poison && pick(random, 4) == 0 ? ONE_OF(random, bad) : ONE_OF(random, owners));
    (void)snprintf(text, sizeof text, "%d", (int)pick(random, 9) - 4);
    add_member(out, random, "n", poison && pick(random, 3) == 0 ? ONE_OF(random, bad) : text);
    (void)snprintf(text, sizeof text, "%d", (int)pick(random, 120) - 20);
    add_member(out, random, "small", poison && pick(random, 4) == 0 ? ONE_OF(random, bad) : text);
    add_member(out, random, old ? "amount" : "d",
               poison && pick(random, 2) == 0 ? ONE_OF(random, bad_decimals) : ONE_OF(random, decimals));
    add_member(out, random, "s",
               poison && pick(random, 4) == 0 ? ONE_OF(random, bad) : ONE_OF(random, texts));
    (void)snprintf(text, sizeof text, "\"2026-%02u-%02uT%02u:%02u:00%s\"", 1 + pick(random, 12),
                   1 + pick(random, 28), pick(random, 24), pick(random, 60),
                   pick(random, 2) ? "Z" : "+05:30");
    add_member(out, random, "at", poison && pick(random, 4) == 0 ? ONE_OF(random, bad) : text);
    add_member(out, random, "day",
               poison && pick(random, 4) == 0 ? ONE_OF(random, bad) : ONE_OF(random, days));
    add_member(out, random, "flag", ONE_OF(random, flags));
    add_member(out, random, "doc", ONE_OF(random, docs));
    sb_buf_add_char(out, '}');
}

typedef struct history {
    unsigned seed[EVENTS_MAX];
    size_t count;
    unsigned way; /* decides on batch sizes and ranges */
} history_t;

typedef struct made {
    char key[16];
    const char *type;
    int version;
    int64_t time_us;
    sb_buf_t body;
} made_t;

static void make_event(unsigned seed, made_t *out)
{
    static const char *const types[] = {"thing.opened", "thing.changed", "thing.changed", "thing.changed",
                                        "thing.closed"};
    unsigned random = seed;
    (void)rand_r(&random);
    *out = (made_t){.body = SB_BUF_INIT};
    (void)snprintf(out->key, sizeof out->key, "t-%u", pick(&random, 12));
    out->type = ONE_OF(&random, types);
    out->version = strcmp(out->type, "thing.changed") == 0 ? 1 + (int)pick(&random, 2) : 1;
    out->time_us = INT64_C(1767225600000000) + (int64_t)pick(&random, 86400 * 90) * 1000000 + 123456;
    bool old = strcmp(out->type, "thing.changed") == 0 && out->version == 1;
    make_body(&random, old, &out->body);
    assert_false(sb_buf_failed(&out->body));
}

static void insert_events(sb_world_t *world, const history_t *history, size_t from, size_t to)
{
    static const char insert_streams[] =
        "INSERT INTO sagabus.stream (category, key) SELECT DISTINCT 'thing', k FROM unnest($1::text[]) k "
        "ON CONFLICT DO NOTHING";
    static const char insert[] =
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, at, data) "
        "SELECT s.stream_no, $6::bigint + u.i, t.type_no, 1, gen_random_uuid(), u.at, convert_to(u.body, "
        "'UTF8') "
        "FROM unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::text[]) WITH ORDINALITY AS "
        "u (key, type, version, at, body, i) JOIN sagabus.stream s ON s.category = 'thing' AND s.key = u.key "
        "JOIN sagabus.event_type t ON t.name = u.type AND t.version = u.version ORDER BY u.i";
    static const uint32_t element[] = {SB_PG_TEXT, SB_PG_TEXT, SB_PG_INT4, SB_PG_TIMESTAMPTZ, SB_PG_TEXT};
    sb_pg_array_t array[5];
    sb_pg_params_t keys = SB_PG_PARAMS_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_error_t err = SB_ERROR_INIT;
    for (int i = 0; i < 5; i++)
        sb_pg_array_init(&array[i], element[i]);
    for (size_t i = from; i < to; i++) {
        made_t made;
        make_event(history->seed[i], &made);
        sb_pg_array_add_slice(&array[0], sb_slice(made.key));
        sb_pg_array_add_slice(&array[1], sb_slice(made.type));
        sb_pg_array_add_int4(&array[2], made.version);
        sb_pg_array_add_time(&array[3], made.time_us);
        sb_pg_array_add_slice(&array[4], sb_buf_slice(&made.body));
        sb_buf_fini(&made.body);
    }
    for (int i = 0; i < 5; i++)
        sb_pg_add_array(&params, &array[i]);
    sb_pg_add_int8(&params, (int64_t)from);
    sb_pg_add_array(&keys, &array[0]);
    assert_ok(sb_pg_query(world->pg, insert_streams, &keys, NULL, &err), &err);
    assert_ok(sb_pg_query(world->pg, insert, &params, NULL, &err), &err);
    for (int i = 0; i < 5; i++)
        sb_pg_array_fini(&array[i]);
}

/* ---- live ---- */

/* The batch goes on without it, and with it when it is back. */
static void end_session(sb_world_t *world, sb_pg_t *reader)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (!sb_pg_is_open(reader)) {
        assert_ok(sb_pg_reopen(reader, &err), &err);
        return;
    }
    sb_pg_add_int4(&params, sb_pg_backend_pid(reader));
    assert_ok(sb_pg_query(world->pg, "SELECT pg_terminate_backend($1::int, 30000)", &params, NULL, &err),
              &err);
}

/* What the projector does, with the size of each batch drawn anew, and a new batch now and then; most of them
 * read ahead, by a connection that does not always live. */
static void fold_live(sb_world_t *world, unsigned *random, sb_lease_t *lease, sb_view_definition_t *view,
                      int64_t safe)
{
    static const int sizes[] = {1, 2, 3, 7, 20, 1000};
    sb_error_t err = SB_ERROR_INIT;
    sb_view_batch_t *batch = NULL;
    sb_pg_t *reader = NULL;
    sb_pg_config_t reading = {.uri = world->uri};
    assert_ok(sb_pg_open(&reader, &reading, &err), &err);
    while (lease->cursor < safe) {
        sb_view_batch_result_t done;
        sb_view_batch_config_t config = {.pg = world->pg,
                                         .catalog = world->catalog,
                                         .definition = view,
                                         .generation = 1,
                                         .events_max = sizes[pick(random, sizeof sizes / sizeof *sizes)],
                                         .tally = &tally};
        if (!batch) {
            assert_ok(sb_view_batch_new(&batch, &config, &err), &err);
            if (pick(random, 4) != 0)
                sb_view_batch_read_ahead(batch, reader);
        }
        assert_ok(sb_view_batch_run(batch, lease, safe, &done, &err), &err);
        assert_string_equal(done.waits_for, "");
        if (pick(random, 12) == 0)
            sb_view_batch_free(&batch);
        if (pick(random, 20) == 0)
            end_session(world, reader);
    }
    sb_view_batch_free(&batch);
    sb_pg_close(&reader);
}

static void take_view(sb_world_t *world, sb_lease_t *lease, sb_view_definition_t **view)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_hash_t fingerprint;
    sb_error_t err = SB_ERROR_INIT;
    sb_view_role(role, VIEW);
    sb_lease_init(lease, role);
    assert_ok(sb_lease_acquire(lease, world->pg, "test", 60000, &err), &err);
    assert_ok(sb_view_registered(world->catalog, SB_SLICE(VIEW), 0, view, &fingerprint, &err), &err);
    assert_ok(sb_view_generation_first(world->pg, lease, *view, &fingerprint, &err), &err);
}

/* ---- what is compared ---- */

static char *shown(sb_world_t *world, const sb_view_definition_t *view, int64_t generation)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_test_pg_script(world->pg, "SET timezone = 'UTC'");
    for (int t = 0; t <= view->table_count; t++) {
        char sql[1024];
        if (t < view->table_count)
            (void)snprintf(
                sql, sizeof sql,
                "CREATE OR REPLACE FUNCTION pg_temp.lines() RETURNS text LANGUAGE sql AS $$ SELECT "
                "string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\") FROM "
                "sagabus_view.\"%s_g%" PRId64 "\" r $$",
                view->table[t].name, generation);
        else
            (void)snprintf(
                sql, sizeof sql,
                "CREATE OR REPLACE FUNCTION pg_temp.lines() RETURNS text LANGUAGE sql AS $$ SELECT "
                "string_agg(concat_ws(' ', table_name, key, first_seq, event_type, error), E'\\n' "
                "ORDER BY first_seq, table_name, key, error) FROM sagabus.view_parked WHERE view = "
                "'" VIEW "' AND generation = %" PRId64 " $$",
                generation);
        sb_test_pg_script(world->pg, sql);
        assert_ok(sb_pg_query(world->pg, "SELECT pg_temp.lines()", NULL, &result, &err), &err);
        sb_buf_printf(&out, "%s\n", t < view->table_count ? view->table[t].name : "parked");
        sb_buf_add_slice(&out, sb_pg_get_slice(result, 0, 0));
        sb_buf_add_char(&out, '\n');
        sb_pg_result_free(result);
    }
    assert_false(sb_buf_failed(&out));
    char *text = strdup(sb_buf_text(&out));
    sb_buf_fini(&out);
    assert_non_null(text);
    return text;
}

typedef struct outcome {
    bool same;
    int64_t rows;
    int64_t parked;
    int64_t dirty;
    int64_t generation; /* that was replayed */
    int passes;
    char *live;
    char *replayed;
} outcome_t;

static void free_outcome(outcome_t *outcome)
{
    free(outcome->live);
    free(outcome->replayed);
    *outcome = (outcome_t){.same = true};
}

static void count_rows(sb_world_t *world, const sb_view_definition_t *view, outcome_t *out)
{
    for (int t = 0; t < view->table_count; t++) {
        out->rows +=
            sb_world_int(world, "(SELECT count(*) FROM sagabus_view.\"%s_g1\")", view->table[t].name);
        out->dirty += sb_world_int(world, "(SELECT count(*) FROM sagabus_view.\"%s_g1\" WHERE dirty)",
                                   view->table[t].name);
    }
    out->parked = sb_world_int(world, "(SELECT count(*) FROM sagabus.view_parked WHERE generation = 1)");
}

/* By ranges, connections and passes of any number. What the carry takes must fit in the memory; where it does
 * not, the replay says so, and is given enough. */
static void replay_somehow(sb_world_t *world, unsigned *random, outcome_t *out)
{
    static const int64_t memory[] = {0, 0, 600 << 10, 900 << 10};
    sb_replay_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_config_t config = {.pg_uri = world->uri,
                                 .owner = "test",
                                 .catalog = world->catalog,
                                 .view = VIEW,
                                 .jobs = 1 + (int)pick(random, 3),
                                 .range_seqs = 5 + (int64_t)pick(random, 300),
                                 .memory_bytes = memory[pick(random, sizeof memory / sizeof *memory)]};
    sb_code_t code = sb_replay_run(&config, &report, &err);
    if (code == SB_TOO_LARGE) {
        sb_error_clear(&err);
        config.memory_bytes = 0;
        code = sb_replay_run(&config, &report, &err);
    }
    assert_ok(code, &err);
    out->passes = report.passes;
    out->generation = report.generation;
}

/* Folds a history live and by a replay, in a database of its own. */
static void run_history(const history_t *history, outcome_t *out)
{
    sb_world_t world;
    sb_lease_t lease;
    sb_view_definition_t *view = NULL;
    sb_apply_report_t applied;
    sb_error_t err = SB_ERROR_INIT;
    unsigned random = history->way;
    world.pg = sb_test_pg_open(sb_test_pg_fresh(world.uri));
    assert_ok(sb_catalog_new(&world.catalog, &err), &err);
    assert_ok(sb_catalog_apply(world.catalog, world.pg, SB_TEST_THINGS, checks, &applied, &err), &err);
    take_view(&world, &lease, &view);
    tally.count = 0;
    assert_ok(sb_view_batch_count(world.pg, view, lease.next, 0, &err), &err);
    for (size_t from = 0; from < history->count;) {
        size_t to = from + 1 + pick(&random, 200);
        to = to < history->count ? to : history->count;
        insert_events(&world, history, from, to);
        fold_live(&world, &random, &lease, view, sb_world_safe(&world));
        from = to;
    }
    assert_ok(sb_view_batch_save(world.pg, &lease, &tally, NULL, &err), &err);
    free_outcome(out);
    assert_int_equal(sb_test_tally_ranges(world.pg), 0);
    replay_somehow(&world, &random, out);
    assert_int_equal(sb_test_tally_ranges(world.pg), 0); /* of the new generation */
    out->live = shown(&world, view, 1);
    out->replayed = shown(&world, view, out->generation);
    out->same = strcmp(out->live, out->replayed) == 0;
    count_rows(&world, view, out);
    sb_lease_fini(&lease);
    sb_view_definition_free(&view);
    sb_world_close(&world);
}

/* Leaves events out as long as the rest still differs. */
static void shrink(history_t *history, outcome_t *out)
{
    for (size_t step = history->count / 2; step > 0; step /= 2)
        for (size_t at = 0; at + step <= history->count;) {
            history_t fewer = *history;
            memmove(fewer.seed + at, fewer.seed + at + step, (fewer.count - at - step) * sizeof *fewer.seed);
            fewer.count -= step;
            run_history(&fewer, out);
            if (out->same)
                at += step;
            else
                *history = fewer;
        }
    run_history(history, out);
}

static void print_history(const history_t *history, const outcome_t *out)
{
    for (size_t i = 0; i < history->count; i++) {
        made_t made;
        make_event(history->seed[i], &made);
        (void)fprintf(stderr, "%s %s v%d %s\n", made.key, made.type, made.version, sb_buf_text(&made.body));
        sb_buf_fini(&made.body);
    }
    (void)fprintf(stderr, "---- live\n%s---- replayed\n%s", out->live, out->replayed);
}

static void replay_is_live_for_every_operation(void **state)
{
    (void)state;
    const char *given = getenv("SB_TEST_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    int rounds = getenv("SB_TEST_LONG") ? 100 : 3;
    outcome_t out = {.same = true};
    int64_t rows = 0;
    int64_t parked = 0;
    int64_t dirty = 0;
    int passes = 0;
    (void)fprintf(stderr, "seed %u (SB_TEST_SEED)\n", seed);
    for (int round = 0; round < rounds; round++) {
        unsigned random = seed + (unsigned)round;
        history_t history = {.count = 100 + pick(&random, EVENTS_MAX - 100),
                             .way = (unsigned)rand_r(&random)};
        for (size_t i = 0; i < history.count; i++)
            history.seed[i] = (unsigned)rand_r(&random);
        run_history(&history, &out);
        if (!out.same) {
            shrink(&history, &out);
            print_history(&history, &out);
            fail_msg("seed %u: live and replay differ after %zu events", seed + (unsigned)round,
                     history.count);
        }
        rows += out.rows;
        parked += out.parked;
        dirty += out.dirty;
        passes += out.passes;
    }
    free_outcome(&out);
    (void)fprintf(stderr,
                  "%d histories: %" PRId64 " rows, %" PRId64 " parked, %" PRId64 " dirty, %d passes\n",
                  rounds, rows, parked, dirty, passes);
    assert_true(rows > 100 && parked > 0 && dirty > 0); /* or nothing was tested */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_is_live_for_every_operation),
    };
    return cmocka_run_group_tests(tests, sb_test_pg_start_hasty, sb_test_pg_stop);
}
