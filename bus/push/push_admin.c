/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_admin.h"

#include "bus_sql.h"

static sb_code_t add_row(const sb_pg_result_t *rows, int row, json_t *list, sb_error_t *err)
{
    sb_slice_t text = sb_pg_get_slice(rows, row, 0);
    sb_slice_t body = sb_pg_get_slice(rows, row, 1);
    json_t *item = json_loadb(text.ptr, text.len, 0, NULL);
    json_t *definition = json_loadb(body.ptr, body.len, 0, NULL);
    const char *const shown[] = {"endpoint", "title"};
    bool ok = item && definition;
    for (size_t i = 0; ok && i < 2; i++)
        if (json_object_get(definition, shown[i]))
            ok = json_object_set(item, shown[i], json_object_get(definition, shown[i])) == 0;
    ok = ok && json_object_set(item, "definition", definition) == 0 && json_array_append(list, item) == 0;
    json_decref(item);
    json_decref(definition);
    return ok ? SB_OK : sb_fail(err, SB_NO_MEMORY, "push subscriptions: out of memory");
}

sb_code_t sb_push_list(sb_pg_t *pg, const char *name, json_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    *out = json_array();
    sb_pg_add_text(&params, name);
    sb_code_t code = sb_pg_query(pg, sb_sql_push_list, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++)
        code = add_row(rows, i, *out, err);
    if (code == SB_OK && name && sb_pg_rows(rows) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no push subscription %s is registered", name);
    sb_pg_result_free(rows);
    if (code != SB_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

static sb_code_t change(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, const char *name,
                        sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_query(pg, sql, params, &result, err);
    if (code == SB_OK && sb_pg_affected(result) == 0)
        code = sb_fail(err, SB_NOT_FOUND,
                       "push subscription %s has not begun: it is not registered, or no server runs", name);
    sb_pg_result_free(result);
    return code;
}

sb_code_t sb_push_pause(sb_pg_t *pg, const char *name, const char *by, const char *reason, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, name);
    sb_pg_add_text(&params, by);
    sb_pg_add_text(&params, reason);
    return change(pg, sb_sql_push_pause, &params, name, err);
}

sb_code_t sb_push_resume(sb_pg_t *pg, const char *name, int64_t after_seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_params_t place = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, name);
    sb_pg_add_text(&place, name);
    sb_pg_add_int8(&place, after_seq);
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK && after_seq >= 0)
        code = change(pg, sb_sql_push_move, &place, name, err);
    if (code == SB_OK)
        code = change(pg, sb_sql_push_resume, &params, name, err);
    if (code == SB_OK)
        return sb_pg_commit(pg, err);
    sb_pg_rollback(pg);
    return code;
}
