/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/view_world.h"

#include "tests/support/process.h"
#include "tests/support/tally.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};

sb_code_t (*sb_world_functions)(sb_catalog_t *catalog, sb_error_t *err);

static sb_code_t make_catalog(sb_catalog_t **catalog, sb_error_t *err)
{
    sb_code_t code = sb_catalog_new(catalog, err);
    return code == SB_OK && sb_world_functions ? sb_world_functions(*catalog, err) : code;
}

static void open_catalog(sb_catalog_t **catalog)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(make_catalog(catalog, &err), &err);
}

/* In PL/pgSQL: tables have other names with each view. What is hidden (the carry) has no
 * SQL view and is looked at in its generation. */
static const char shown[] =
    "CREATE OR REPLACE FUNCTION pg_temp.shown(v text, g bigint) RETURNS text LANGUAGE plpgsql AS $shown$\n"
    "DECLARE t text; part text; said text := ''; n bigint;\n"
    "BEGIN\n"
    "  SELECT generation INTO n FROM sagabus.view_generation WHERE view = v AND (generation = g OR (g = 0 "
    "AND "
    "live));\n"
    "  n := coalesce(n, g);\n"
    "  FOR t IN SELECT table_name FROM sagabus.view_table WHERE view = v AND to_regclass('sagabus_view.' || "
    "table_name || '_g' || n) IS NOT NULL ORDER BY 1 LOOP\n"
    "    EXECUTE format($q$SELECT count(*) || ' ' || coalesce(md5(string_agg(to_jsonb(r)::text, E'\\n' ORDER "
    "BY to_jsonb(r)::text COLLATE \"C\")), '') FROM sagabus_view.%I r$q$, CASE WHEN g = 0 AND "
    "to_regclass('sagabus_view.' || t) IS NOT NULL THEN t ELSE t || '_g' || n END) INTO part;\n"
    "    said := said || part || ' ';\n"
    "  END LOOP;\n"
    "  SELECT coalesce(md5(string_agg(concat_ws('|', table_name, key, first_seq, event_type, error), ',' "
    "ORDER "
    "BY first_seq, table_name, key)), '') || count(*) INTO part FROM sagabus.view_parked WHERE view = v AND "
    "generation = n;\n"
    "  RETURN said || 'parked ' || part;\n"
    "END $shown$";

void sb_world_open(sb_world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    world->pg = sb_test_pg_open(sb_test_pg_fresh(world->uri));
    open_catalog(&world->catalog);
    assert_ok(sb_catalog_apply(world->catalog, world->pg, SB_TEST_SCHEMAS, checks, &report, &err), &err);
    assert_true(report.added > 10);
}

sb_code_t sb_world_apply(sb_world_t *world, const char *view, const char *body, sb_error_t *err)
{
    char directory[] = "/tmp/sb-view-XXXXXX";
    char views[64];
    char path[160];
    sb_apply_report_t report;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(views, sizeof views, "%s/views", directory);
    (void)snprintf(path, sizeof path, "%s/%s.json", views, view);
    assert_int_equal(mkdir(views, 0700), 0);
    FILE *file = fopen(path, "wbe");
    assert_non_null(file);
    assert_true(fputs(body, file) >= 0);
    assert_int_equal(fclose(file), 0);
    sb_catalog_prove(world->catalog, SB_ARTIFACT_VIEW, sb_view_prove);
    sb_code_t code = sb_catalog_apply(world->catalog, world->pg, directory, checks, &report, err);
    assert_int_equal(remove(path), 0);
    assert_int_equal(remove(views), 0);
    assert_int_equal(remove(directory), 0);
    return code;
}

void sb_world_close(sb_world_t *world)
{
    sb_catalog_free(&world->catalog);
    sb_pg_close(&world->pg);
}

/* By way of a function, because a connection knows statements by the address of their text. */
int64_t sb_world_int(sb_world_t *world, const char *format, ...)
{
    char sql[2048];
    char made[2304];
    va_list args;
    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is the line above
    (void)vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    (void)snprintf(made, sizeof made,
                   "CREATE OR REPLACE FUNCTION pg_temp.answer() RETURNS bigint LANGUAGE plpgsql AS "
                   "$answer$ BEGIN RETURN (%s); END $answer$",
                   sql);
    sb_test_pg_script(world->pg, made);
    return sb_test_pg_int(world->pg, "SELECT pg_temp.answer()");
}

int64_t sb_world_safe(sb_world_t *world)
{
    sb_test_pg_script(world->pg,
                      "UPDATE sagabus.lease SET cursor = (SELECT CASE WHEN is_called THEN last_value ELSE "
                      "0 END FROM sagabus.event_seq) WHERE role = 'sequencer'");
    return sb_test_pg_int(world->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'");
}

void sb_world_append(sb_world_t *world, int seed, int count, int keys, int poison)
{
    char sql[4096];
    (void)snprintf(
        sql, sizeof sql,
        "SELECT setseed(%d / 1000000.0);\n"
        "INSERT INTO sagabus.stream (category, key) SELECT 'order', 'o-' || i FROM generate_series(1, %d) i "
        "ON CONFLICT DO NOTHING;\n"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, at, data)\n"
        "SELECT s.stream_no, (SELECT coalesce(max(version), 0) FROM sagabus.event) + r.i, t.type_no, 1,\n"
        "  gen_random_uuid(), '2026-01-01'::timestamptz + make_interval(secs => r.i + r.a),\n"
        "  convert_to(CASE WHEN %d > 0 AND r.i %% greatest(%d, 1) = 0 THEN\n"
        "    "
        "format('{\"order_id\":\"%%s\",\"customer_id\":\"c-%%s\",\"amount\":%%s,\"currency\":7,\"reason\":[]}"
        "', "
        "s.key, r.c, CASE WHEN r.a < 0.5 THEN '9223372036854775807' ELSE '1.5' END)\n"
        "  ELSE format('{\"order_id\":\"%%s\",\"customer_id\":\"c-%%s\",\"amount\":%%s,\"currency\":\"EUR\","
        "\"reason\":\"%%s\\u00e9 \\\"x\\\"\",%%s}', s.key, r.c, (r.a * 100000)::bigint, repeat('r', (r.a * "
        "40)::int), CASE WHEN t.version = 2 THEN format('\"parcel\" : {\"carrier\":\"p-%%s\"}', r.c) ELSE "
        "format('\"carrier\":\"p-%%s\"', r.c) END) "
        "END, 'UTF8')\n"
        "FROM (SELECT i, random() AS a, (random() * %d)::int + 1 AS k, (random() * %d / 3)::int AS c,\n"
        "  (ARRAY['order.created','order.created','order.confirmed','order.cancelled','order.shipped',"
        "'order.delivered','payment.charged'])[1 + floor(random() * 7)::int] AS name\n"
        "  FROM generate_series(1, %d) i) r\n"
        "JOIN sagabus.stream s ON s.category = 'order' AND s.key = 'o-' || least(r.k, %d)\n"
        "JOIN sagabus.event_type t ON t.name = r.name AND\n"
        "  t.version = CASE WHEN r.name = 'order.shipped' AND r.i %% 2 = 0 THEN 2 ELSE 1 END\n"
        "ORDER BY r.i;",
        seed, keys, poison, poison, keys - 1, keys, count, keys);
    sb_test_pg_script(world->pg, sql);
    (void)sb_world_safe(world);
}

char *sb_world_rows(sb_world_t *world, const char *view, int64_t generation)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_test_pg_script(world->pg, shown);
    sb_pg_add_text(&params, view);
    sb_pg_add_int8(&params, generation);
    assert_ok(sb_pg_query(world->pg, "SELECT pg_temp.shown($1::text, $2::bigint)", &params, &result, &err),
              &err);
    char *text = strdup(sb_pg_get_text(result, 0, 0));
    sb_pg_result_free(result);
    assert_non_null(text);
    return text;
}

void sb_world_assert_same(const char *want, const char *have, const char *what)
{
    if (strcmp(want, have) != 0)
        fail_msg("%s:\n  %s\n  %s", what, want, have);
}

void sb_world_assert_alike(sb_world_t *world, const char *view, int64_t one, int64_t other)
{
    char *want = sb_world_rows(world, view, one);
    char *have = sb_world_rows(world, view, other);
    sb_world_assert_same(want, have, view);
    free(want);
    free(have);
}

int64_t sb_world_cursor(sb_world_t *world, const char *view)
{
    return sb_world_int(world, "coalesce((SELECT cursor FROM sagabus.lease WHERE role = 'view:%s'), -1)",
                        view);
}

bool sb_world_is_at(sb_world_t *world, const char *view, int64_t seq)
{
    return sb_world_cursor(world, view) >= seq;
}

/* ---- projectors ---- */

static void *run_projector(void *context)
{
    sb_projector_run(context);
    return NULL;
}

void sb_world_start(sb_world_t *world, sb_world_projector_t *p, const char *owner, uint32_t batch_events)
{
    sb_error_t err = SB_ERROR_INIT;
    open_catalog(&p->catalog);
    sb_projector_config_t config = {.pg_uri = world->uri,
                                    .owner = owner,
                                    .catalog = p->catalog,
                                    .batch_events = batch_events,
                                    .idle_ms = 10,
                                    .refresh_ms = 100};
    assert_ok(sb_projector_open(&p->projector, &config, &err), &err);
    assert_int_equal(pthread_create(&p->thread, NULL, run_projector, p->projector), 0);
}

void sb_world_stop(sb_world_projector_t *p)
{
    sb_projector_stop(p->projector);
    assert_int_equal(pthread_join(p->thread, NULL), 0);
    sb_projector_close(&p->projector);
    sb_catalog_free(&p->catalog);
}

void sb_world_project(sb_world_t *world, uint32_t batch_events)
{
    sb_world_projector_t p;
    int64_t safe = sb_world_safe(world);
    sb_world_start(world, &p, "test", batch_events);
    assert_soon(
        sb_world_int(world,
                     "SELECT count(DISTINCT a.name) FROM sagabus.artifact a WHERE a.kind = 'view' AND "
                     "NOT EXISTS (SELECT FROM sagabus.lease l WHERE l.role = 'view:' || a.name AND "
                     "l.cursor >= %" PRId64 ")",
                     safe) == 0,
        60000);
    sb_world_stop(&p);
    assert_int_equal(sb_test_tally_ranges(world->pg), 0); /* every event once, by the counts */
}

sb_code_t sb_world_replay(const char *uri, const char *view, int64_t range_seqs, sb_replay_fn on_progress,
                          void *context, sb_replay_report_t *report, sb_error_t *err)
{
    sb_catalog_t *catalog = NULL;
    sb_code_t code = make_catalog(&catalog, err);
    sb_replay_config_t config = {.pg_uri = uri,
                                 .owner = "test",
                                 .catalog = catalog,
                                 .view = view,
                                 .range_seqs = range_seqs,
                                 .on_progress = on_progress,
                                 .context = context};
    if (code == SB_OK)
        code = sb_replay_run(&config, report, err);
    sb_catalog_free(&catalog);
    return code;
}

/* ---- ends ---- */

typedef struct doomed {
    const char *uri;
    const char *view;
    sb_world_end_t end;
} doomed_t;

static int run_doomed_projector(void *context)
{
    const doomed_t *doomed = context;
    sb_catalog_t *catalog = NULL;
    sb_projector_t *projector = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (make_catalog(&catalog, &err) != SB_OK)
        return 1;
    sb_projector_config_t config = {.pg_uri = doomed->uri,
                                    .owner = "child",
                                    .catalog = catalog,
                                    .batch_events = 3,
                                    .idle_ms = 1,
                                    .refresh_ms = 20};
    if (sb_projector_open(&projector, &config, &err) == SB_OK)
        sb_projector_run(projector);
    return 1;
}

void sb_world_kill_projector(sb_world_t *world, const char *view, int64_t after_ms)
{
    sb_test_process_t child = {0};
    doomed_t doomed = {world->uri, view, {SB_REPLAY_READ, 0, 0}};
    int64_t before = sb_world_cursor(world, view);
    sb_test_fork(&child, run_doomed_projector, &doomed);
    assert_soon(sb_world_cursor(world, view) > before, 30000);
    sb_test_sleep_ms(after_ms);
    sb_test_signal(&child, SIGKILL);
    assert_true(sb_test_wait(&child, 30000));
    sb_test_process_end(&child);
}

static sb_code_t die_in_phase(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    const doomed_t *doomed = context;
    (void)err;
    if (progress->phase == doomed->end.phase && progress->pass >= doomed->end.pass)
        (void)kill(getpid(), SIGKILL);
    return SB_OK;
}

static int run_doomed_replay(void *context)
{
    doomed_t *doomed = context;
    sb_replay_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    if (make_catalog(&catalog, &err) != SB_OK)
        return 2;
    sb_replay_config_t config = {.pg_uri = doomed->uri,
                                 .catalog = catalog,
                                 .view = doomed->view,
                                 .range_seqs = 100,
                                 .memory_bytes = doomed->end.memory_bytes,
                                 .on_progress = die_in_phase,
                                 .context = doomed};
    sb_code_t code = sb_replay_run(&config, &report, &err);
    sb_catalog_free(&catalog);
    return code == SB_OK ? 0 : 1;
}

void sb_world_kill_replay(sb_world_t *world, const char *view, const sb_world_end_t *end)
{
    doomed_t doomed = {world->uri, view, *end};
    sb_test_process_t child = {0};
    sb_test_fork(&child, run_doomed_replay, &doomed);
    assert_true(sb_test_wait(&child, 120000));
    assert_int_equal(child.exit_code, 128 + SIGKILL);
    sb_test_process_end(&child);
}
