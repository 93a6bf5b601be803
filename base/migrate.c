/* SPDX-License-Identifier: Apache-2.0 */
#include "base/migrate.h"

#include "base/json.h"
#include "base/log.h"
#include "base_sql.h"

#include <stdlib.h>
#include <string.h>

static int count_of(const sb_migration_t *list)
{
    int count = 0;
    while (list[count].name)
        count++;
    return count;
}

static int number_of(const sb_migration_t *migration)
{
    return (int)strtol(migration->name, NULL, 10);
}

static sb_code_t run_for_schema(sb_pg_t *pg, const char *format, const char *schema, sb_error_t *err)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_add_text(&sql, format);
    sb_pg_quote_name(&sql, sb_slice(schema));
    sb_code_t code = sb_buf_failed(&sql) ? sb_fail(err, SB_NO_MEMORY, "migrate %s: out of memory", schema)
                                         : sb_pg_script(pg, sb_buf_text(&sql), err);
    sb_buf_fini(&sql);
    return code;
}

static sb_code_t read_state(sb_pg_t *pg, const char *schema, bool *has_schema, bool *has_table,
                            sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, schema);
    sb_code_t code = sb_pg_query(pg, sb_sql_migrate_state, &params, &result, err);
    if (code == SB_OK) {
        *has_schema = sb_pg_get_bool(result, 0, 0);
        *has_table = sb_pg_get_bool(result, 0, 1);
    }
    sb_pg_result_free(result);
    return code;
}

int sb_migration_needs(const char *name)
{
    static const char mark[] = "_needs_";
    const char *at = strstr(name, mark);
    return at ? (int)strtol(at + strlen(mark), NULL, 10) : 0;
}

/* One that this binary does not have: a later release applied it. */
static sb_code_t check_later(const char *schema, const char *name, const sb_migration_t *list,
                             sb_error_t *err)
{
    int count = count_of(list);
    if (count > 0 && sb_migration_needs(name) <= number_of(&list[count - 1]))
        return SB_OK;
    return sb_fail(err, SB_UNSUPPORTED,
                   "schema %s has migration %s, which a binary that knows only up to %s does not fit: run a "
                   "newer one",
                   schema, name, count ? list[count - 1].name : "none");
}

typedef struct recorded {
    int ours;    /* how many of our list are in force */
    int version; /* number of the newest one, be it ours or not */
} recorded_t;

/* The recorded migrations must begin as our list does; later ones may follow that leave us what we use. */
static sb_code_t compare(sb_pg_t *pg, const char *schema, const sb_migration_t *list, recorded_t *recorded,
                         sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_migrate_list, NULL, &result, err);
    int count = count_of(list);
    *recorded = (recorded_t){0, 0};
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++) {
        const char *name = sb_pg_get_text(result, i, 0);
        recorded->version = (int)strtol(name, NULL, 10);
        if (i >= count) {
            code = check_later(schema, name, list, err);
            continue;
        }
        recorded->ours = i + 1;
        sb_hash_t ours;
        sb_hash_bytes(sb_slice(list[i].text), &ours);
        if (strcmp(name, list[i].name) != 0)
            code = sb_fail(err, SB_MISMATCH, "schema %s: migration %d is %s, ours is %s", schema, i + 1, name,
                           list[i].name);
        else if (!sb_slice_equal(sb_pg_get_slice(result, i, 1),
                                 (sb_slice_t){(const char *)ours.byte, sizeof ours.byte}))
            code = sb_fail(err, SB_MISMATCH, "schema %s: migration %s was applied with another text", schema,
                           name);
    }
    sb_pg_result_free(result);
    return code;
}

/* Opens the transaction of one step: no time limit, the lock, the schema and its table made when absent. */
static sb_code_t enter(sb_pg_t *pg, const char *schema, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, schema);
    bool has_schema = false;
    bool has_table = false;
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = sb_pg_script(pg, "SET LOCAL statement_timeout = 0", err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_migrate_lock, &params, NULL, err);
    if (code == SB_OK)
        code = read_state(pg, schema, &has_schema, &has_table, err);
    if (code == SB_OK && !has_schema)
        code = run_for_schema(pg, "CREATE SCHEMA ", schema, err);
    if (code == SB_OK)
        code = run_for_schema(pg, "SET LOCAL search_path = ", schema, err);
    if (code == SB_OK && !has_table)
        code = sb_pg_script(pg,
                            "CREATE TABLE migration (name text PRIMARY KEY, hash bytea NOT NULL,"
                            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
                            err);
    return code;
}

static sb_code_t apply(sb_pg_t *pg, const sb_migration_t *migration, sb_error_t *err)
{
    sb_hash_t hash;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_hash_bytes(sb_slice(migration->text), &hash);
    sb_pg_add_text(&params, migration->name);
    sb_pg_add_bytea(&params, (sb_slice_t){(const char *)hash.byte, sizeof hash.byte});
    sb_code_t code = sb_pg_script(pg, migration->text, err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_migrate_record, &params, NULL, err);
    return code == SB_OK ? SB_OK : sb_context(err, code, "migration %s", migration->name);
}

/* One transaction: whatever another runner has done meanwhile is read under the lock, so that two that start
 * together share the work. *done: nothing is missing any more. */
static sb_code_t step(sb_pg_t *pg, const char *schema, const sb_migration_t *list,
                      sb_migrate_report_t *report, bool *done, sb_error_t *err)
{
    recorded_t recorded = {0, 0};
    sb_code_t code = enter(pg, schema, err);
    if (code == SB_OK)
        code = compare(pg, schema, list, &recorded, err);
    *done = recorded.ours == count_of(list);
    if (code == SB_OK && !*done)
        code = apply(pg, &list[recorded.ours], err);
    if (code == SB_OK)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK) {
        sb_pg_rollback(pg);
        return code;
    }
    report->version = recorded.version;
    if (!*done) {
        report->applied++;
        report->version = number_of(&list[recorded.ours]);
        sb_log(SB_LOG_INFO, "MIGRATED", "applied a migration|schema=%s name=%s", schema,
               list[recorded.ours].name);
    }
    return SB_OK;
}

sb_code_t sb_migrate(sb_pg_t *pg, const char *schema, const sb_migration_t *list, sb_migrate_report_t *report,
                     sb_error_t *err)
{
    sb_migrate_report_t ignored;
    if (!report)
        report = &ignored;
    *report = (sb_migrate_report_t){0, 0};
    bool done = false;
    sb_code_t code = SB_OK;
    while (code == SB_OK && !done)
        code = step(pg, schema, list, report, &done, err);
    return code;
}

sb_code_t sb_migrate_check(sb_pg_t *pg, const char *schema, const sb_migration_t *list, sb_error_t *err)
{
    bool has_schema = false;
    bool has_table = false;
    recorded_t recorded = {0, 0};
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = read_state(pg, schema, &has_schema, &has_table, err);
    if (code == SB_OK && has_table) {
        code = run_for_schema(pg, "SET LOCAL search_path = ", schema, err);
        if (code == SB_OK)
            code = compare(pg, schema, list, &recorded, err);
    }
    sb_pg_rollback(pg);
    int count = count_of(list);
    bool is_ours = strcmp(schema, "sagabus") == 0; /* any other one is a service's */
    if (code == SB_OK && recorded.ours < count)
        code = sb_fail(err, SB_UNAVAILABLE,
                       "schema %s is at %s, this binary needs %s: run `sagabus migrate%s%s`", schema,
                       recorded.ours ? list[recorded.ours - 1].name : "no migration", list[count - 1].name,
                       is_ours ? "" : " --only client --schema ", is_ours ? "" : schema);
    return code;
}
