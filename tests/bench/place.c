/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/place.h"

#include "bus/topics.h"
#include "migrations/list.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC_MS 20000

/* ---- the address of another database of the same server ---- */

static void add_keyword(sb_buf_t *out, const char *keyword, const char *value)
{
    sb_buf_printf(out, "%s='", keyword);
    for (const char *c = value; *c; c++) {
        if (*c == '\'' || *c == '\\')
            sb_buf_add_char(out, '\\');
        sb_buf_add_char(out, *c);
    }
    sb_buf_add_text(out, "' ");
}

static void make_uri(place_t *place)
{
    char *fault = NULL;
    PQconninfoOption *all = PQconninfoParse(place->env->pg_uri, &fault);
    if (!all)
        bench_die("SAGABUS_PG: %s", fault ? fault : "out of memory");
    for (const PQconninfoOption *o = all; o->keyword; o++)
        if (o->val && strcmp(o->keyword, "dbname") != 0)
            add_keyword(&place->uri, o->keyword, o->val);
    add_keyword(&place->uri, "dbname", place->database);
    PQconninfoFree(all);
}

const char *place_uri(const place_t *place)
{
    return sb_buf_text(&place->uri);
}

/* ---- databases ---- */

static sb_pg_t *connect_to(const char *uri)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri, .application_name = "bench", .statement_timeout_ms = 120000};
    bench_ok(sb_pg_open(&pg, &config, &err), &err, "connect to PostgreSQL");
    return pg;
}

static void on_server(const place_t *place, const char *verb, const char *how)
{
    char sql[192];
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = connect_to(place->env->pg_uri);
    (void)snprintf(sql, sizeof sql, "%s DATABASE %s%s", verb, place->database, how);
    bench_ok(sb_pg_script(pg, sql, &err), &err, sql);
    sb_pg_close(&pg);
}

const char *place_schemas(void)
{
    const char *dir = getenv("SAGABUS_SCHEMAS_DIR");
    return dir && dir[0] ? dir : "schemas";
}

static void fill(place_t *place)
{
    static const sb_artifact_check_fn unchecked[SB_ARTIFACT_KINDS] = {NULL};
    sb_error_t err = SB_ERROR_INIT;
    sb_migrate_report_t migrated;
    sb_apply_report_t applied;
    bench_ok(sb_migrate(place->pg, SB_SCHEMA, sb_migrations, &migrated, &err), &err, "migrate");
    bench_ok(sb_catalog_new(&place->catalog, &err), &err, "make a catalog");
    bench_ok(sb_catalog_apply(place->catalog, place->pg, place_schemas(), unchecked, &applied, &err), &err,
             "register schemas");
}

void place_open(place_t *place, const bench_env_t *env, const char *name)
{
    sb_error_t err = SB_ERROR_INIT;
    *place = (place_t){.env = env, .uri = SB_BUF_INIT};
    (void)snprintf(place->database, sizeof place->database, "bench_%d_%s", (int)getpid(), name);
    (void)snprintf(place->prefix, sizeof place->prefix, "bench.%d.%s.", (int)getpid(), name);
    make_uri(place);
    on_server(place, "CREATE", "");
    place->pg = connect_to(place_uri(place));
    fill(place);
    bench_ok(sb_config_new(&place->config, &err), &err, "make settings");
    bench_ok(sb_config_load_environment(place->config, &err), &err, "read settings");
    bench_ok(sb_config_set(place->config, "pg.uri", place_uri(place), &err), &err, "set pg.uri");
    bench_ok(sb_config_set(place->config, "kafka.bootstrap", env->kafka_bootstrap, &err), &err,
             "set kafka.bootstrap");
    bench_ok(sb_config_set(place->config, "kafka.prefix", place->prefix, &err), &err, "set kafka.prefix");
}

void place_close(place_t *place)
{
    sb_catalog_free(&place->catalog);
    sb_config_free(&place->config);
    sb_pg_close(&place->pg);
    on_server(place, "DROP", " WITH (FORCE)");
    sb_buf_fini(&place->uri);
}

void place_add_client(place_t *place, const char *schema)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_migrate_report_t report;
    bench_ok(sb_migrate(place->pg, schema, sb_client_migrations, &report, &err), &err, "migrate a service");
}

void place_script(place_t *place, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    bench_ok(sb_pg_script(place->pg, sql, &err), &err, sql);
}

int64_t place_int(place_t *place, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *result = NULL;
    bench_ok(sb_pg_query(place->pg, sql, NULL, &result, &err), &err, sql);
    int64_t value = sb_pg_rows(result) > 0 ? sb_pg_get_int(result, 0, 0) : 0;
    sb_pg_result_free(result);
    return value;
}

/* ---- topics ---- */

void place_make_topic(place_t *place, const char *topic)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {.item = NULL};
    int created = 0;
    bench_ok(sb_topic_list_add(&list, topic, 1, &err), &err, "list a topic");
    bench_ok(sb_topics_apply(place->config, &list, TOPIC_MS, &created, &err), &err, "make a topic");
    sb_topic_list_fini(&list);
}
