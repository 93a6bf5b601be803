/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/view_world.h"

#include "tests/support/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};

static void open_catalog(sb_catalog_t **catalog)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_catalog_new(catalog, &err), &err);
}

void sb_world_open(sb_world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    world->pg = sb_test_pg_open(sb_test_pg_fresh(world->uri));
    open_catalog(&world->catalog);
    assert_ok(sb_catalog_apply(world->catalog, world->pg, SB_TEST_SCHEMAS, checks, &report, &err), &err);
    assert_true(report.added > 10);
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
    char made[2048];
    char table[80];
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(table, sizeof table, generation ? "%s_g%" PRId64 : "%s", view, generation);
    (void)snprintf(
        made, sizeof made,
        "CREATE OR REPLACE FUNCTION pg_temp.shown() RETURNS text LANGUAGE sql AS $shown$\n"
        "SELECT count(*) || ' ' || coalesce(md5(string_agg(to_jsonb(t)::text, E'\\n' ORDER BY "
        "to_jsonb(t)::text COLLATE \"C\")), '') || ' parked ' || coalesce((SELECT "
        "md5(string_agg(p.table_name || p.key || "
        "p.first_seq || p.event_type || p.error, ',' ORDER BY p.first_seq, p.key)) || count(*) FROM "
        "sagabus.view_parked p WHERE p.view = '%s' AND p.generation = (SELECT generation FROM "
        "sagabus.view_generation WHERE view = '%s' AND (generation = %" PRId64 " OR (%" PRId64
        " = 0 AND live)))), '') FROM sagabus_view.\"%s\" t $shown$",
        view, view, generation, generation, table);
    sb_test_pg_script(world->pg, made);
    assert_ok(sb_pg_query(world->pg, "SELECT pg_temp.shown()", NULL, &result, &err), &err);
    char *text = strdup(sb_pg_get_text(result, 0, 0));
    sb_pg_result_free(result);
    assert_non_null(text);
    return text;
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
    sb_code_t code = sb_catalog_new(&catalog, err);
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
