/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/audit.h"

#include "events/saga_number.h"
#include "saga/query/render.h"
#include "saga_sql.h"

#include <inttypes.h>
#include <stdio.h>

/* Where the next page begins: time, source and number of the last row. */
typedef struct cursor {
    bool there;
    int64_t at_us;
    int source;
    int64_t no;
} cursor_t;

static sb_code_t read_cursor(sb_slice_t text, cursor_t *out, sb_error_t *err)
{
    char copy[64];
    int end = 0;
    *out = (cursor_t){.there = text.ptr != NULL};
    if (!out->there)
        return SB_OK;
    (void)snprintf(copy, sizeof copy, "%.*s", SB_SLICE_ARG(text));
    if (text.len < sizeof copy &&
        sscanf(copy, "%" SCNd64 ".%d.%" SCNd64 "%n", &out->at_us, &out->source, &out->no, &end) == 3 &&
        (size_t)end == text.len)
        return SB_OK;
    return sb_fail_at(err, SB_INVALID, "/cursor", "not a cursor of this list");
}

static void add_or_null(sb_pg_params_t *params, bool there, int64_t value)
{
    if (there)
        sb_pg_add_int8(params, value);
    else
        sb_pg_add_null(params, SB_PG_INT8);
}

static sb_code_t read_page(sb_pg_t *pg, const sb_audit_page_t *page, const cursor_t *cursor,
                           sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    int64_t saga_no = 0;
    if (page->saga)
        (void)sb_saga_number_of(page->saga, &saga_no);
    if (cursor->there)
        sb_pg_add_time(&params, cursor->at_us);
    else
        sb_pg_add_null(&params, SB_PG_TIMESTAMPTZ);
    sb_pg_add_int4(&params, cursor->source);
    sb_pg_add_int8(&params, cursor->no);
    add_or_null(&params, page->saga != NULL, saga_no);
    add_or_null(&params, page->act != 0, page->act);
    add_or_null(&params, page->command != 0, page->command);
    sb_pg_add_int8(&params, page->limit + 1);
    sb_code_t code = sb_pg_script(pg, "BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan", err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_audit_page, &params, rows, err);
    sb_pg_rollback(pg);
    return code;
}

static void write_item(sb_buf_t *out, const sb_pg_result_t *rows, int row)
{
    bool of_saga = sb_pg_get_int(rows, row, 1) == 1;
    sb_render_open(out, NULL, '{');
    sb_render_time(out, "at", sb_pg_get_time(rows, row, 0));
    sb_render_text(out, "who", sb_pg_get_slice(rows, row, 3));
    sb_render_text(out, "act", sb_pg_get_slice(rows, row, 4));
    sb_render_text(out, "target", sb_pg_get_slice(rows, row, 5));
    sb_render_text(out, "reason", sb_pg_get_slice(rows, row, 6));
    sb_render_raw(out, "detail", sb_pg_get_slice(rows, row, 7));
    if (of_saga) {
        sb_render_int(out, "command", sb_pg_get_int(rows, row, 2));
        sb_render_text(out, "outcome", sb_pg_get_slice(rows, row, 8));
        sb_render_time(out, "done_at", sb_pg_get_time(rows, row, 9));
        if (!sb_pg_is_null(rows, row, 10))
            sb_render_int(out, "part_of", sb_pg_get_int(rows, row, 10));
    } else {
        sb_render_int(out, "number", sb_pg_get_int(rows, row, 2));
    }
    sb_render_close(out, '}');
}

static void write_page(sb_buf_t *out, const sb_pg_result_t *rows, int limit)
{
    char next[64];
    int count = sb_pg_rows(rows);
    bool more = count > limit;
    count = more ? limit : count;
    sb_render_open(out, NULL, '{');
    sb_render_open(out, "items", '[');
    for (int row = 0; row < count; row++)
        write_item(out, rows, row);
    sb_render_close(out, ']');
    if (more)
        (void)snprintf(next, sizeof next, "%" PRId64 ".%d.%" PRId64, sb_pg_get_time(rows, count - 1, 0),
                       (int)sb_pg_get_int(rows, count - 1, 1), sb_pg_get_int(rows, count - 1, 2));
    sb_render_text(out, "next_cursor", more ? sb_slice(next) : SB_SLICE_NONE);
    sb_render_close(out, '}');
}

sb_code_t sb_audit_list(sb_pg_t *pg, const sb_audit_page_t *page, sb_buf_t *out, sb_error_t *err)
{
    cursor_t cursor;
    sb_pg_result_t *rows = NULL;
    if (page->limit < 1 || page->limit > 500)
        return sb_fail_at(err, SB_INVALID, "/limit", "a page has 1 to 500 acts");
    sb_code_t code = read_cursor(page->cursor, &cursor, err);
    if (code == SB_OK)
        code = read_page(pg, page, &cursor, &rows, err);
    if (code == SB_OK)
        write_page(out, rows, page->limit);
    sb_pg_result_free(rows);
    return code == SB_OK && sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "list acts: out of memory")
                                               : code;
}
