/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/dlq.h"

#include "base/scan.h"
#include "bus_sql.h"

#include <inttypes.h>

/* ---- looking ---- */

static sb_code_t parse(const sb_pg_result_t *rows, int row, json_t **out, sb_error_t *err)
{
    sb_slice_t text = sb_pg_get_slice(rows, row, 0);
    *out = json_loadb(text.ptr, text.len, 0, NULL);
    return *out ? SB_OK : sb_fail(err, SB_NO_MEMORY, "dead letters: out of memory");
}

sb_code_t sb_dlq_list(sb_pg_t *pg, const char *subscription, json_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, subscription);
    *out = json_array();
    sb_code_t code = sb_pg_query(pg, sb_sql_dlq_list, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        json_t *item = NULL;
        code = parse(rows, i, &item, err);
        if (code == SB_OK && json_array_append_new(*out, item) != 0)
            code = sb_fail(err, SB_NO_MEMORY, "dead letters: out of memory");
    }
    sb_pg_result_free(rows);
    if (code != SB_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

/* JSON as it is, other text as a string, other bytes in hexadecimal. */
static json_t *body_of(sb_slice_t value)
{
    if (!value.ptr)
        return json_null();
    json_t *body = json_loadb(value.ptr, value.len, JSON_DECODE_ANY, NULL);
    if (!body && sb_utf8_ok(value))
        body = json_stringn(value.ptr, value.len);
    if (body)
        return body;
    sb_buf_t hex = SB_BUF_INIT;
    sb_buf_add_text(&hex, "\\x");
    for (size_t i = 0; i < value.len; i++)
        sb_buf_printf(&hex, "%02x", (unsigned)(uint8_t)value.ptr[i]);
    body = json_string(sb_buf_text(&hex));
    sb_buf_fini(&hex);
    return body;
}

sb_code_t sb_dlq_show(sb_pg_t *pg, int64_t no, json_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    *out = NULL;
    sb_pg_add_int8(&params, no);
    sb_code_t code = sb_pg_query(pg, sb_sql_dlq_show, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "there is no dead letter %" PRId64, no);
    if (code == SB_OK)
        code = parse(rows, 0, out, err);
    if (code == SB_OK && json_object_set_new(*out, "value", body_of(sb_pg_get_slice(rows, 0, 1))) != 0)
        code = sb_fail(err, SB_NO_MEMORY, "dead letter %" PRId64 ": out of memory", no);
    sb_pg_result_free(rows);
    if (code != SB_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

/* ---- acting ---- */

static sb_code_t affect(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, int64_t *count,
                        sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_query(pg, sql, params, &result, err);
    if (code == SB_OK && count)
        *count = sb_pg_affected(result);
    sb_pg_result_free(result);
    return code;
}

sb_code_t sb_dlq_edit(sb_pg_t *pg, const char *subscription, int64_t no, sb_slice_t body, sb_error_t *err)
{
    int64_t count = 0;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, subscription);
    sb_pg_add_int8(&params, no);
    sb_pg_add_bytea(&params, body);
    sb_code_t code = affect(pg, sb_sql_dlq_edit, &params, &count, err);
    if (code == SB_OK && count == 0)
        return sb_fail(err, SB_NOT_FOUND, "%s has no open dead letter %" PRId64, subscription, no);
    return code;
}

static void add_key(sb_pg_params_t *params, const sb_dlq_filter_t *filter)
{
    sb_pg_add_text(params, filter->subscription);
    sb_pg_add_bytea(params, sb_slice(filter->key));
}

static void add_filter(sb_pg_params_t *params, const sb_dlq_filter_t *filter)
{
    add_key(params, filter);
    if (filter->no)
        sb_pg_add_int8(params, filter->no);
    else
        sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_text(params, filter->error);
}

sb_code_t sb_dlq_redrive(sb_pg_t *pg, const sb_dlq_filter_t *filter, int64_t pace_us, int64_t *keys,
                         int64_t *rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    add_filter(&params, filter);
    sb_pg_add_int8(&params, pace_us);
    sb_code_t code = affect(pg, sb_sql_dlq_redrive_keys, &params, keys, err);
    return code == SB_OK ? affect(pg, sb_sql_dlq_redrive_rows, &params, rows, err) : code;
}

static sb_code_t discard(sb_pg_t *pg, const sb_dlq_filter_t *filter, const char *reason, int64_t *rows,
                         int64_t *keys, sb_error_t *err)
{
    sb_pg_params_t key = SB_PG_PARAMS_INIT;
    sb_pg_params_t all = SB_PG_PARAMS_INIT;
    add_key(&key, filter);
    add_filter(&all, filter);
    sb_pg_add_text(&all, reason);
    sb_code_t code = affect(pg, sb_sql_dlq_lock_keys, &key, NULL, err);
    if (code == SB_OK)
        code = affect(pg, sb_sql_dlq_discard, &all, rows, err);
    if (code ==
        SB_OK) /* and those that were held back meanwhile: a member may be adding behind one of them */
        code = affect(pg, sb_sql_dlq_lock_keys, &key, NULL, err);
    if (code == SB_OK)
        code = affect(pg, sb_sql_dlq_free_keys, &key, keys, err);
    return code == SB_OK ? sb_pg_commit(pg, err) : code;
}

sb_code_t sb_dlq_discard(sb_pg_t *pg, const sb_dlq_filter_t *filter, const char *reason, int64_t *rows,
                         int64_t *keys, sb_error_t *err)
{
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = discard(pg, filter, reason, rows, keys, err);
    if (code != SB_OK)
        sb_pg_rollback(pg);
    return code;
}
