/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_generation.h"

#include "base/log.h"
#include "events/tally.h"
#include "events/view/view_sql.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdio.h>

void sb_view_role(char *text, const char *view)
{
    (void)snprintf(text, SB_LEASE_ROLE_MAX, "view:%s", view);
}

void sb_view_replay_role(char *text, const char *view)
{
    (void)snprintf(text, SB_LEASE_ROLE_MAX, "replay:%s", view);
}

/* Adds "type version declaration" of each version of a type that declares something. */
static void add_upcasts(const sb_catalog_t *catalog, const char *name, sb_buf_t *text)
{
    const sb_event_type_t *newest = sb_catalog_type(catalog, sb_slice(name), 0);
    for (int version = 2; newest && version <= newest->version; version++) {
        const sb_artifact_t *artifact =
            sb_catalog_artifact(catalog, SB_ARTIFACT_EVENT, sb_slice(name), version);
        const json_t *upcast = artifact ? json_object_get(artifact->body, "x-upcast") : NULL;
        if (!upcast || (json_is_array(upcast) && json_array_size(upcast) == 0))
            continue;
        sb_buf_printf(text, "%s %d ", name, version);
        sb_json_dump(upcast, text);
    }
}

sb_code_t sb_view_fingerprint(const sb_catalog_t *catalog, const sb_view_definition_t *definition,
                              sb_hash_t *out, sb_error_t *err)
{
    const sb_artifact_t *artifact =
        sb_catalog_artifact(catalog, SB_ARTIFACT_VIEW, sb_slice(definition->name), definition->version);
    sb_buf_t text = SB_BUF_INIT;
    if (!artifact)
        return sb_fail(err, SB_NOT_FOUND, "view %s: version %d is not registered here", definition->name,
                       definition->version);
    sb_buf_add(&text, artifact->hash.byte, sizeof artifact->hash.byte);
    for (int i = 0; i < definition->event_count; i++)
        add_upcasts(catalog, definition->event[i].name, &text);
    sb_code_t code = SB_OK;
    for (int i = 0; code == SB_OK && i < definition->zone_count; i++) {
        sb_hash_t rules;
        code = sb_view_zone_hash(&definition->zone[i], &rules, err);
        sb_buf_add(&text, rules.byte, sizeof rules.byte);
    }
    bool failed = sb_buf_failed(&text);
    if (text.len == sizeof artifact->hash.byte)
        *out = artifact->hash; /* none: as it ever was */
    else
        sb_hash_bytes(sb_buf_slice(&text), out);
    sb_buf_fini(&text);
    if (code == SB_OK && failed)
        code = sb_fail(err, SB_NO_MEMORY, "view %s: out of memory", definition->name);
    return code;
}

sb_code_t sb_view_registered(const sb_catalog_t *catalog, sb_slice_t name, int version,
                             sb_view_definition_t **out, sb_hash_t *fingerprint, sb_error_t *err)
{
    const sb_artifact_t *artifact = sb_catalog_artifact(catalog, SB_ARTIFACT_VIEW, name, version);
    *out = NULL;
    if (!artifact && version > 0)
        return sb_fail(err, SB_NOT_FOUND, "view %.*s: version %d is not registered here", SB_SLICE_ARG(name),
                       version);
    if (!artifact)
        return sb_fail(err, SB_NOT_FOUND, "no view %.*s is registered", SB_SLICE_ARG(name));
    sb_code_t code = sb_view_definition_new(out, artifact->body, err);
    if (code == SB_OK && (*out)->fold &&
        !sb_catalog_fold_named(catalog, (*out)->fold, &(*out)->call, &(*out)->call_context))
        (*out)->call = NULL;
    if (code == SB_OK && fingerprint)
        code = sb_view_fingerprint(catalog, *out, fingerprint, err);
    return code == SB_OK ? code
                         : sb_context(err, code, "view %s version %d", artifact->name, artifact->version);
}

sb_code_t sb_view_foldable(const sb_view_definition_t *definition, sb_error_t *err)
{
    if (!definition->fold || definition->call)
        return SB_OK;
    return sb_fail(
        err, SB_UNSUPPORTED,
        "view %s version %d is folded by the C function \"%s\", which this program has not: run it "
        "in the service that registers it (sagabus/view.h)",
        definition->name, definition->version, definition->fold);
}

/* One integer of a statement with at most a text parameter; fallback when there is no row. */
static sb_code_t query_int(sb_pg_t *pg, const char *sql, const char *text, int64_t fallback, int64_t *out,
                           sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    if (text)
        sb_pg_add_text(&params, text);
    sb_code_t code = sb_pg_query(pg, sql, &params, &result, err);
    if (code == SB_OK)
        *out = sb_pg_rows(result) > 0 ? sb_pg_get_int(result, 0, 0) : fallback;
    sb_pg_result_free(result);
    return code;
}

sb_code_t sb_view_history_whole(sb_pg_t *pg, const char *view, int64_t after, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_bool(&params, true);
    sb_code_t code = sb_pg_query(pg, sb_sql_read_bounds, &params, &rows, err);
    int64_t gone = code == SB_OK ? sb_pg_get_int(rows, 0, 0) : 0;
    sb_pg_result_free(rows);
    if (gone > after)
        return sb_fail(
            err, SB_GONE,
            "view %s cannot be built from the beginning: history is incomplete, events up to %" PRId64
            " were detached. Attach their partitions again and delete their rows of sagabus.event_detached",
            view, gone);
    return code;
}

sb_code_t sb_view_safe_seq(sb_pg_t *pg, int64_t *out, sb_error_t *err)
{
    return query_int(pg, sb_sql_view_safe_seq, NULL, 0, out, err);
}

sb_code_t sb_view_generation_live(sb_pg_t *pg, const char *view, sb_view_generation_t *out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    *out = (sb_view_generation_t){0};
    sb_pg_add_text(&params, view);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_generation_live, &params, &result, err);
    if (code == SB_OK && sb_pg_rows(result) > 0)
        *out = (sb_view_generation_t){sb_pg_get_int(result, 0, 0), (int)sb_pg_get_int(result, 0, 1), {{0}}};
    sb_slice_t fingerprint = out->number > 0 ? sb_pg_get_slice(result, 0, 2) : SB_SLICE_NONE;
    if (fingerprint.len == sizeof out->fingerprint.byte)
        memcpy(out->fingerprint.byte, fingerprint.ptr, fingerprint.len);
    sb_pg_result_free(result);
    return code;
}

sb_code_t sb_view_generation_last(sb_pg_t *pg, const char *view, int64_t *out, sb_error_t *err)
{
    return query_int(pg, sb_sql_view_generation_last, view, 1, out, err);
}

sb_code_t sb_view_generation_claim(sb_pg_t *pg, const sb_view_definition_t *definition, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_array_t names;
    sb_pg_array_init(&names, SB_PG_TEXT);
    for (int i = 0; i < definition->table_count; i++)
        sb_pg_array_add_slice(&names, sb_slice(definition->table[i].name));
    sb_code_t code = SB_OK;
    if (sb_pg_array_failed(&names))
        code = sb_fail(err, SB_NO_MEMORY, "claim tables: out of memory");
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_array(&params, &names);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_view_claim, &params, &result, err);
    if (code == SB_OK && sb_pg_rows(result) > 0)
        code = sb_fail(err, SB_CONFLICT, "view %s: table %s is view %s's", definition->name,
                       sb_pg_get_text(result, 0, 0), sb_pg_get_text(result, 0, 1));
    sb_pg_result_free(result);
    sb_pg_array_fini(&names);
    return code;
}

/* ---- definitions of tables ---- */

typedef void (*build_fn)(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);

static sb_code_t run_script(sb_pg_t *pg, sb_buf_t *text, sb_error_t *err)
{
    sb_code_t code = sb_buf_failed(text) ? sb_fail(err, SB_NO_MEMORY, "tables of a view: out of memory")
                                         : sb_pg_script(pg, sb_buf_text(text), err);
    sb_buf_fini(text);
    return code;
}

static sb_code_t build_each(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t number,
                            build_fn build, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int i = 0; i < definition->table_count; i++)
        build(&text, &definition->table[i], number);
    return run_script(pg, &text, err);
}

/* CREATE OR REPLACE VIEW keeps grants and whatever was built on the SQL view; in return it takes new columns
 * at the end only. */
static sb_code_t expose(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t number, sb_error_t *err)
{
    sb_error_t cause = SB_ERROR_INIT;
    sb_code_t code = build_each(pg, definition, number, sb_view_sql_expose, &cause);
    if (code != SB_OK && strcmp(cause.origin, "pg:42P16") == 0)
        return sb_fail(
            err, SB_CONFLICT,
            "view %s version %d: its columns do not extend those of the version before (new ones go to "
            "the end, none is dropped, retyped or renamed): %s",
            definition->name, definition->version, cause.message);
    if (code != SB_OK && err)
        *err = cause;
    return code;
}

static sb_code_t record(sb_pg_t *pg, const sb_view_definition_t *definition, const sb_hash_t *fingerprint,
                        int64_t number, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_slice_t hash = {(const char *)fingerprint->byte, sizeof fingerprint->byte};
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_int8(&params, number);
    sb_pg_add_int4(&params, definition->version);
    sb_pg_add_bytea(&params, hash);
    return sb_pg_query(pg, sb_sql_view_generation_add, &params, NULL, err);
}

static sb_code_t make_first(sb_pg_t *pg, const sb_lease_t *lease, const sb_view_definition_t *definition,
                            const sb_hash_t *fingerprint, sb_error_t *err)
{
    sb_lease_t guard = *lease; /* its beat is the guard: the first statement of the transaction */
    sb_code_t code = sb_lease_beat(&guard, pg, err);
    if (code == SB_OK)
        code = sb_view_generation_claim(pg, definition, err);
    if (code == SB_OK)
        code = build_each(pg, definition, lease->next, sb_view_sql_create, err);
    if (code == SB_OK)
        code = build_each(pg, definition, lease->next, sb_view_sql_index, err);
    if (code == SB_OK)
        code = expose(pg, definition, lease->next, err);
    return code == SB_OK ? record(pg, definition, fingerprint, lease->next, err) : code;
}

sb_code_t sb_view_generation_first(sb_pg_t *pg, const sb_lease_t *lease,
                                   const sb_view_definition_t *definition, const sb_hash_t *fingerprint,
                                   sb_error_t *err)
{
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = make_first(pg, lease, definition, fingerprint, err);
    if (code == SB_OK)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK)
        sb_pg_rollback(pg);
    return code;
}

/* ---- what is left behind ---- */

static sb_code_t forget_gone(sb_pg_t *pg, const char *view, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, view);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_parked_forget, &params, NULL, err);
    return code == SB_OK ? sb_tally_forget(pg, view, err) : code;
}

sb_code_t sb_view_generation_sweep(sb_pg_t *pg, const char *view, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, view);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_leftovers, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++) {
        sb_buf_t text = SB_BUF_INIT;
        sb_log(SB_LOG_INFO, "VIEW-LEFTOVER", "drops what an unfinished replay left|view=%s table=%s", view,
               sb_pg_get_text(result, i, 0));
        sb_view_sql_drop(&text, sb_pg_get_slice(result, i, 0));
        code = run_script(pg, &text, err);
    }
    sb_pg_result_free(result);
    return code == SB_OK ? forget_gone(pg, view, err) : code;
}

static sb_code_t drop_old(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t number,
                          sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int i = 0; i < definition->table_count; i++) {
        sb_buf_t name = SB_BUF_INIT;
        sb_view_sql_generation(&name, &definition->table[i], number);
        sb_view_sql_drop(&text, sb_buf_slice(&name));
        sb_buf_fini(&name);
    }
    sb_code_t code = run_script(pg, &text, err);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_int8(&params, number);
    return code == SB_OK ? sb_pg_query(pg, sb_sql_view_generation_forget, &params, NULL, err) : code;
}

void sb_view_generation_prune(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t but)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_int8(&params, but);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_generation_olds, &params, &result, &err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++)
        code = drop_old(pg, definition, sb_pg_get_int(result, i, 0), &err);
    sb_pg_result_free(result);
    if (code == SB_OK)
        code = forget_gone(pg, definition->name, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_WARN, "VIEW-OLD", &err, "an old generation of view %s stays", definition->name);
}

/* ---- the switch ---- */

static sb_code_t retire(sb_pg_t *pg, const char *view, int64_t old_seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, view);
    sb_pg_add_int8(&params, old_seq);
    return sb_pg_query(pg, sb_sql_view_generation_retire, &params, NULL, err);
}

static sb_code_t move_lease(sb_pg_t *pg, const char *view, int64_t number, int64_t seq, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_view_role(role, view);
    sb_pg_add_text(&params, role);
    sb_pg_add_int8(&params, seq);
    sb_pg_add_int8(&params, number);
    return sb_pg_query(pg, sb_sql_view_lease_switch, &params, NULL, err);
}

sb_code_t sb_view_generation_switch(sb_pg_t *pg, const sb_view_definition_t *definition,
                                    const sb_hash_t *fingerprint, int64_t number, int64_t old_seq,
                                    int64_t seq, sb_error_t *err)
{
    sb_code_t code = retire(pg, definition->name, old_seq, err);
    if (code == SB_OK)
        code = record(pg, definition, fingerprint, number, err);
    if (code == SB_OK)
        code = expose(pg, definition, number, err);
    return code == SB_OK ? move_lease(pg, definition->name, number, seq, err) : code;
}

sb_code_t sb_view_generation_old(sb_pg_t *pg, const char *view, int64_t number, sb_view_old_generation_t *out,
                                 sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    *out = (sb_view_old_generation_t){0, 0, 0};
    sb_pg_add_text(&params, view);
    sb_pg_add_int8(&params, number);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_generation_old, &params, &result, err);
    if (code == SB_OK && sb_pg_rows(result) > 0)
        *out = (sb_view_old_generation_t){sb_pg_get_int(result, 0, 0), (int)sb_pg_get_int(result, 0, 1),
                                          sb_pg_get_int(result, 0, 2)};
    sb_pg_result_free(result);
    return code;
}

static sb_code_t expose_again(sb_pg_t *pg, const sb_view_definition_t *definition,
                              const sb_view_definition_t *shown, int64_t number, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int i = 0; i < definition->table_count; i++) {
        int other = sb_view_definition_table(shown, sb_slice(definition->table[i].name));
        sb_view_sql_expose_as(&text, &definition->table[i], number,
                              other < 0 ? &definition->table[i] : &shown->table[other]);
    }
    return run_script(pg, &text, err);
}

sb_code_t sb_view_generation_revive(sb_pg_t *pg, const sb_view_definition_t *definition,
                                    const sb_view_definition_t *shown, int64_t number, int64_t old_seq,
                                    int64_t seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_int8(&params, number);
    sb_code_t code = retire(pg, definition->name, old_seq, err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_view_generation_revive, &params, NULL, err);
    if (code == SB_OK)
        code = expose_again(pg, definition, shown, number, err);
    return code == SB_OK ? move_lease(pg, definition->name, number, seq, err) : code;
}

/* ---- parked keys ---- */

sb_code_t sb_view_parked_load(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t number,
                              sb_view_fold_t *fold, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, definition->name);
    sb_pg_add_int8(&params, number);
    sb_code_t code = sb_pg_query(pg, sb_sql_view_parked_list, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++) {
        int table = sb_view_definition_table(definition, sb_pg_get_slice(result, i, 0));
        if (table >= 0)
            code = sb_view_fold_park_key(fold, table, sb_pg_get_slice(result, i, 1), err);
    }
    sb_pg_result_free(result);
    return code;
}

void sb_view_parked_rows_init(sb_view_parked_rows_t *rows)
{
    sb_pg_array_init(&rows->table, SB_PG_TEXT);
    sb_pg_array_init(&rows->key, SB_PG_TEXT);
    sb_pg_array_init(&rows->seq, SB_PG_INT8);
    sb_pg_array_init(&rows->event, SB_PG_TEXT);
    sb_pg_array_init(&rows->error, SB_PG_TEXT);
}

void sb_view_parked_rows_fini(sb_view_parked_rows_t *rows)
{
    sb_pg_array_fini(&rows->table);
    sb_pg_array_fini(&rows->key);
    sb_pg_array_fini(&rows->seq);
    sb_pg_array_fini(&rows->event);
    sb_pg_array_fini(&rows->error);
}

sb_code_t sb_view_parked_rows_fill(sb_view_parked_rows_t *rows, const sb_view_definition_t *definition,
                                   int64_t number, const sb_view_fold_t *fold, sb_error_t *err)
{
    sb_view_parked_rows_fini(rows);
    sb_view_parked_rows_init(rows);
    for (size_t i = 0; i < sb_view_fold_parked_count(fold); i++) {
        const sb_view_parked_t *parked = sb_view_fold_parked(fold, i);
        sb_pg_array_add_slice(&rows->table, sb_slice(definition->table[parked->table].name));
        sb_pg_array_add_slice(&rows->key, sb_slice(parked->key));
        sb_pg_array_add_int8(&rows->seq, parked->seq);
        sb_pg_array_add_slice(&rows->event, sb_slice(definition->event[parked->event].name));
        sb_pg_array_add_slice(&rows->error, sb_slice(parked->error));
    }
    return sb_view_parked_rows_done(rows, definition, number, err);
}

sb_code_t sb_view_parked_rows_done(sb_view_parked_rows_t *rows, const sb_view_definition_t *definition,
                                   int64_t number, sb_error_t *err)
{
    if (sb_pg_array_failed(&rows->table) || sb_pg_array_failed(&rows->key) ||
        sb_pg_array_failed(&rows->seq) || sb_pg_array_failed(&rows->event) ||
        sb_pg_array_failed(&rows->error))
        return sb_fail(err, SB_NO_MEMORY, "parked keys: out of memory");
    rows->params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_text(&rows->params, definition->name);
    sb_pg_add_int8(&rows->params, number);
    sb_pg_add_array(&rows->params, &rows->table);
    sb_pg_add_array(&rows->params, &rows->key);
    sb_pg_add_array(&rows->params, &rows->seq);
    sb_pg_add_array(&rows->params, &rows->event);
    sb_pg_add_array(&rows->params, &rows->error);
    return SB_OK;
}
