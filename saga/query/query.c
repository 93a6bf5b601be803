/* Finding sagas and listing them. The story of one is told in show.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/query.h"

#include "base/clock.h"
#include "base/scan.h"
#include "saga/query/render.h"
#include "saga_sql.h"

#include <inttypes.h>
#include <stdio.h>

sb_code_t sb_saga_find(sb_pg_t *pg, sb_slice_t type, sb_slice_t key, sb_uuid_t *out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_slice(&params, type);
    sb_pg_add_slice(&params, key);
    sb_code_t code = sb_pg_query(pg, sb_sql_saga_find, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no saga of type %.*s has key %.*s", SB_SLICE_ARG(type),
                       SB_SLICE_ARG(key));
    if (code == SB_OK)
        *out = sb_pg_get_uuid(rows, 0, 0);
    sb_pg_result_free(rows);
    return code;
}

/* ---- cursors: 17 bytes as base64url ---- */

#define CURSOR_BYTES 17
#define CURSOR_TEXT  23
#define NEWEST_FIRST 'n'
#define OLDEST_FIRST 'o'

typedef struct cursor {
    bool there;
    int64_t started_us;
    int64_t no;
} cursor_t;

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void put_be64(uint8_t *out, int64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

static int64_t get_be64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return (int64_t)value;
}

static void write_cursor(char text[CURSOR_TEXT + 1], const cursor_t *cursor, bool oldest_first)
{
    uint8_t bytes[CURSOR_BYTES + 1] = {(uint8_t)(oldest_first ? OLDEST_FIRST : NEWEST_FIRST)};
    put_be64(bytes + 1, cursor->started_us);
    put_be64(bytes + 9, cursor->no);
    for (int i = 0; i < CURSOR_TEXT; i++) {
        int bit = i * 6;
        unsigned pair =
            (unsigned)bytes[bit / 8] << 8 | (bit / 8 + 1 <= CURSOR_BYTES ? bytes[bit / 8 + 1] : 0);
        text[i] = alphabet[pair >> (10 - bit % 8) & 63];
    }
    text[CURSOR_TEXT] = '\0';
}

static sb_code_t read_cursor(sb_slice_t text, bool oldest_first, cursor_t *out, sb_error_t *err)
{
    uint8_t bytes[CURSOR_BYTES + 1] = {0};
    *out = (cursor_t){.there = text.ptr != NULL};
    if (!out->there)
        return SB_OK;
    bool good = text.len == CURSOR_TEXT;
    for (size_t i = 0; good && i < text.len; i++) {
        const char *at = text.ptr[i] ? strchr(alphabet, text.ptr[i]) : NULL;
        size_t bit = i * 6;
        good = at != NULL;
        unsigned pair = good ? (unsigned)(at - alphabet) << (10 - bit % 8) : 0;
        bytes[bit / 8] |= (uint8_t)(pair >> 8);
        bytes[bit / 8 + 1] |= (uint8_t)pair;
    }
    if (!good || bytes[0] != (oldest_first ? OLDEST_FIRST : NEWEST_FIRST))
        return sb_fail_at(err, SB_INVALID, "/cursor", "not a cursor of this list");
    out->started_us = get_be64(bytes + 1);
    out->no = get_be64(bytes + 9);
    return SB_OK;
}

/* ---- filter ---- */

const char *const sb_saga_filter_names[] = {"type",   "key",           "step",           "participant",
                                            "error",  "status",        "fingerprint",    "attention",
                                            "paused", "started_after", "started_before", NULL};

static sb_code_t set_status(sb_slice_t value, int *out, sb_error_t *err)
{
    for (int s = SB_SAGA_STARTED; s <= SB_SAGA_FAILED; s++) {
        if (sb_slice_is(value, sb_saga_status_name((sb_saga_status_t)s))) {
            *out = s;
            return SB_OK;
        }
    }
    return sb_fail(err, SB_INVALID,
                   "status=%.*s: started, completed, compensating, compensated or failed is wanted",
                   SB_SLICE_ARG(value));
}

static sb_code_t set_fingerprint(sb_slice_t value, int64_t *out, sb_error_t *err)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t bits = 0;
    bool good = value.len == 16;
    for (size_t i = 0; good && i < value.len; i++) {
        const char *digit = memchr(digits, value.ptr[i], 16);
        good = digit != NULL;
        bits = bits << 4 | (good ? (uint64_t)(digit - digits) : 0);
    }
    if (!good || bits == 0)
        return sb_fail(err, SB_INVALID, "fingerprint=%.*s: 16 digits of 0-9 a-f, as a list shows it",
                       SB_SLICE_ARG(value));
    *out = (int64_t)bits;
    return SB_OK;
}

static sb_code_t set_bool(const char *name, sb_slice_t value, bool *out, sb_error_t *err)
{
    *out = sb_slice_is(value, "true") || sb_slice_is(value, "1");
    return *out || sb_slice_is(value, "false") || sb_slice_is(value, "0")
               ? SB_OK
               : sb_fail(err, SB_INVALID, "%s=%.*s: true or false is wanted", name, SB_SLICE_ARG(value));
}

static sb_code_t set_time(const char *name, sb_slice_t value, int64_t *out, sb_error_t *err)
{
    return sb_time_parse(value, out)
               ? SB_OK
               : sb_fail(err, SB_INVALID,
                         "%s=%.*s: a time in RFC 3339 is wanted, such as 2026-01-31T08:30:00Z", name,
                         SB_SLICE_ARG(value));
}

sb_code_t sb_saga_filter_set(sb_saga_filter_t *filter, const char *name, sb_slice_t value, sb_error_t *err)
{
    sb_slice_t *const texts[] = {&filter->type, &filter->key, &filter->step, &filter->participant,
                                 &filter->error};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, sb_saga_filter_names[i]) != 0)
            continue;
        if (value.len == 0 || !sb_utf8_ok(value))
            return sb_fail(err, SB_INVALID, "%s must be text that is not empty", name);
        *texts[i] = value;
        return SB_OK;
    }
    if (strcmp(name, "status") == 0)
        return set_status(value, &filter->status, err);
    if (strcmp(name, "fingerprint") == 0)
        return set_fingerprint(value, &filter->fingerprint, err);
    if (strcmp(name, "attention") == 0)
        return set_bool(name, value, &filter->attention_only, err);
    if (strcmp(name, "paused") == 0)
        return set_bool(name, value, &filter->paused_only, err);
    if (strcmp(name, "started_after") == 0)
        return set_time(name, value, &filter->from_us, err);
    if (strcmp(name, "started_before") == 0)
        return set_time(name, value, &filter->to_us, err);
    return sb_fail(err, SB_NOT_FOUND, "there is no filter %s", name);
}

bool sb_saga_filter_asks(const sb_saga_filter_t *filter)
{
    return filter->type.ptr || filter->key.ptr || filter->step.ptr || filter->participant.ptr ||
           filter->error.ptr || filter->fingerprint || filter->status || filter->attention_only ||
           filter->paused_only || filter->from_us || filter->to_us;
}

/* ---- list ---- */

static void add_time(sb_pg_params_t *params, bool there, int64_t at_us)
{
    if (there)
        sb_pg_add_time(params, at_us);
    else
        sb_pg_add_null(params, SB_PG_TIMESTAMPTZ);
}

static void add_params(sb_pg_params_t *params, const sb_saga_page_t *page, const cursor_t *cursor)
{
    const sb_saga_filter_t *filter = &page->filter;
    sb_pg_add_slice(params, filter->type);
    sb_pg_add_int2(params, (int16_t)filter->status);
    sb_pg_add_bool(params, filter->attention_only);
    add_time(params, cursor->there, cursor->started_us);
    if (cursor->there)
        sb_pg_add_int8(params, cursor->no);
    else
        sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_int8(params, page->limit + 1); /* the one more says whether there is a next page */
    sb_pg_add_slice(params, filter->key);
    sb_pg_add_slice(params, filter->step);
    sb_pg_add_slice(params, filter->participant);
    sb_pg_add_int8(params, filter->fingerprint);
    sb_pg_add_slice(params, filter->error);
    sb_pg_add_bool(params, filter->paused_only);
    add_time(params, filter->from_us != 0, filter->from_us);
    add_time(params, filter->to_us != 0, filter->to_us);
}

static bool asks_for_open(const sb_saga_filter_t *filter)
{
    return filter->open_only || filter->attention_only || filter->paused_only ||
           filter->status == SB_SAGA_STARTED || filter->status == SB_SAGA_COMPENSATING;
}

/* Planned with its arguments, whatever the connection's setting: what is not asked for must not be in the
 * plan. */
static sb_code_t read_page(sb_pg_t *pg, const sb_saga_page_t *page, const cursor_t *cursor,
                           sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    const char *sql = page->oldest_first ? sb_sql_saga_page_oldest : sb_sql_saga_page_newest;
    add_params(&params, page, cursor);
    if (asks_for_open(&page->filter)) {
        sql = sb_sql_saga_page_open;
        sb_pg_add_bool(&params, page->oldest_first);
    }
    sb_code_t code = sb_pg_script(pg, "BEGIN READ ONLY; SET LOCAL plan_cache_mode = force_custom_plan", err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sql, &params, rows, err);
    sb_pg_rollback(pg);
    return code;
}

void sb_saga_write_row(sb_buf_t *out, const sb_pg_result_t *rows, int row)
{
    sb_uuid_t id = sb_pg_get_uuid(rows, row, 1);
    sb_render_uuid(out, "id", &id);
    sb_render_text(out, "type", sb_pg_get_slice(rows, row, 2));
    sb_render_text(out, "key", sb_pg_get_slice(rows, row, 3));
    sb_render_text(out, "status",
                   sb_slice(sb_saga_status_name((sb_saga_status_t)sb_pg_get_int(rows, row, 4))));
    sb_render_bool(out, "paused", sb_pg_get_bool(rows, row, 5));
    sb_render_bool(out, "attention", sb_pg_get_bool(rows, row, 6));
    sb_render_time(out, "started_at", sb_pg_get_time(rows, row, 7));
    sb_render_time(out, "ended_at", sb_pg_is_null(rows, row, 8) ? 0 : sb_pg_get_time(rows, row, 8));
    sb_render_text(out, "step", sb_pg_get_slice(rows, row, 9));
    sb_render_text(out, "participant", sb_pg_get_slice(rows, row, 10));
    sb_render_text(out, "error", sb_pg_get_slice(rows, row, 11));
    char print[20] = "";
    if (!sb_pg_is_null(rows, row, 12))
        (void)snprintf(print, sizeof print, "%016" PRIx64, (uint64_t)sb_pg_get_int(rows, row, 12));
    sb_render_text(out, "fingerprint", print[0] ? sb_slice(print) : SB_SLICE_NONE);
}

void sb_saga_write_next(sb_buf_t *out, const sb_saga_page_t *page, const sb_pg_result_t *rows)
{
    char text[CURSOR_TEXT + 1];
    bool more = sb_pg_rows(rows) > page->limit;
    if (more) {
        int last = page->limit - 1;
        cursor_t next = {true, sb_pg_get_time(rows, last, 7), sb_pg_get_int(rows, last, 0)};
        write_cursor(text, &next, page->oldest_first);
    }
    sb_render_text(out, "next_cursor", more ? sb_slice(text) : SB_SLICE_NONE);
}

static void write_page(sb_buf_t *out, const sb_saga_page_t *page, const sb_pg_result_t *rows)
{
    int count = sb_pg_rows(rows);
    sb_render_open(out, NULL, '{');
    sb_render_open(out, "items", '[');
    for (int row = 0; row < count && row < page->limit; row++) {
        sb_render_open(out, NULL, '{');
        sb_saga_write_row(out, rows, row);
        sb_render_close(out, '}');
    }
    sb_render_close(out, ']');
    sb_saga_write_next(out, page, rows);
    sb_render_close(out, '}');
}

sb_code_t sb_saga_select(sb_pg_t *pg, const sb_saga_page_t *page, sb_pg_result_t **rows, sb_error_t *err)
{
    cursor_t cursor;
    if (page->filter.key.ptr && !page->filter.type.ptr)
        return sb_fail(err, SB_INVALID, "key: type is wanted too, keys are unique per type");
    sb_code_t code = read_cursor(page->cursor, page->oldest_first, &cursor, err);
    return code == SB_OK ? read_page(pg, page, &cursor, rows, err) : code;
}

sb_code_t sb_saga_list(sb_pg_t *pg, const sb_saga_page_t *page, sb_buf_t *out, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    if (page->limit < 1 || page->limit > 500)
        return sb_fail_at(err, SB_INVALID, "/limit", "a page has 1 to 500 sagas");
    sb_code_t code = sb_saga_select(pg, page, &rows, err);
    if (code == SB_OK)
        write_page(out, page, rows);
    sb_pg_result_free(rows);
    return code == SB_OK && sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "list sagas: out of memory")
                                               : code;
}
