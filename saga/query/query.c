/* Finding sagas and listing them. The story of one is told in show.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/query.h"

#include "saga/query/render.h"
#include "saga_sql.h"

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

/* ---- list ---- */

static sb_code_t read_page(sb_pg_t *pg, const sb_saga_page_t *page, const cursor_t *cursor,
                           sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_slice(&params, page->type);
    sb_pg_add_int2(&params, (int16_t)page->status);
    sb_pg_add_bool(&params, page->attention_only);
    if (cursor->there) {
        sb_pg_add_time(&params, cursor->started_us);
        sb_pg_add_int8(&params, cursor->no);
    } else {
        sb_pg_add_null(&params, SB_PG_TIMESTAMPTZ);
        sb_pg_add_null(&params, SB_PG_INT8);
    }
    sb_pg_add_int8(&params, page->limit + 1); /* the one more says whether there is a next page */
    return sb_pg_query(pg, page->oldest_first ? sb_sql_saga_page_oldest : sb_sql_saga_page_newest, &params,
                       rows, err);
}

static void write_item(sb_buf_t *out, const sb_pg_result_t *rows, int row)
{
    sb_uuid_t id = sb_pg_get_uuid(rows, row, 1);
    sb_render_open(out, NULL, '{');
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
    sb_render_close(out, '}');
}

static void write_page(sb_buf_t *out, const sb_saga_page_t *page, const sb_pg_result_t *rows)
{
    char text[CURSOR_TEXT + 1];
    int count = sb_pg_rows(rows);
    bool more = count > page->limit;
    if (more)
        count = page->limit;
    sb_render_open(out, NULL, '{');
    sb_render_open(out, "items", '[');
    for (int row = 0; row < count; row++)
        write_item(out, rows, row);
    sb_render_close(out, ']');
    if (more) {
        cursor_t next = {true, sb_pg_get_time(rows, count - 1, 7), sb_pg_get_int(rows, count - 1, 0)};
        write_cursor(text, &next, page->oldest_first);
    }
    sb_render_text(out, "next_cursor", more ? sb_slice(text) : SB_SLICE_NONE);
    sb_render_close(out, '}');
}

sb_code_t sb_saga_list(sb_pg_t *pg, const sb_saga_page_t *page, sb_buf_t *out, sb_error_t *err)
{
    cursor_t cursor;
    sb_pg_result_t *rows = NULL;
    if (page->limit < 1 || page->limit > 500)
        return sb_fail_at(err, SB_INVALID, "/limit", "a page has 1 to 500 sagas");
    sb_code_t code = read_cursor(page->cursor, page->oldest_first, &cursor, err);
    if (code == SB_OK)
        code = read_page(pg, page, &cursor, &rows, err);
    if (code == SB_OK)
        write_page(out, page, rows);
    sb_pg_result_free(rows);
    return code == SB_OK && sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "list sagas: out of memory")
                                               : code;
}
