/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_page.h"

#include "base/scan.h"
#include "bus_sql.h"
#include "events/saga_types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES (4 << 20)

enum { SEQ, STREAM_NO, AT, VERSION, TYPE_NO, CLASS, ID, META, DATA, KEY };

void sb_relay_page_init(sb_relay_page_t *page)
{
    *page = (sb_relay_page_t){.rows = NULL};
}

void sb_relay_page_drop(sb_relay_page_t *page)
{
    sb_pg_result_free(page->rows);
    page->rows = NULL;
}

void sb_relay_page_fini(sb_relay_page_t *page)
{
    sb_relay_page_drop(page);
    for (int i = 0; i < SB_RELAY_META_FIELDS; i++)
        sb_buf_fini(&page->meta[i]);
    for (size_t i = 0; i < page->type_count; i++)
        free(page->type[i].name);
    free(page->type);
    sb_relay_page_init(page);
}

/* ---- reading ---- */

/* A page that was cut for its bytes ends with its last row; else it covers the whole range. */
static int64_t end_of(const sb_pg_result_t *rows, int64_t to)
{
    int64_t bytes = 0;
    int count = sb_pg_rows(rows);
    for (int row = 0; row < count; row++)
        bytes += (int64_t)sb_pg_get_slice(rows, row, DATA).len;
    return bytes >= PAGE_BYTES ? sb_pg_get_int(rows, count - 1, SEQ) : to;
}

sb_code_t sb_relay_page_load(sb_relay_page_t *page, sb_pg_t *pg, int64_t after, int64_t to, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_array_t names;
    sb_relay_page_drop(page);
    sb_pg_array_init(&names, SB_PG_TEXT);
    for (size_t i = 0; sb_saga_public_type(i); i++)
        sb_pg_array_add_slice(&names, sb_slice(sb_saga_public_type(i)));
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    sb_pg_add_array(&params, &names);
    sb_pg_add_int8(&params, PAGE_BYTES);
    sb_code_t code = sb_pg_array_failed(&names)
                         ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory")
                         : sb_pg_query(pg, sb_sql_relay_page, &params, &page->rows, err);
    sb_pg_array_fini(&names);
    if (code != SB_OK)
        return sb_context(err, code, "read events after %" PRId64, after);
    page->row = 0;
    page->end = end_of(page->rows, to);
    return SB_OK;
}

bool sb_relay_page_has_row(const sb_relay_page_t *page)
{
    return page->rows && page->row < sb_pg_rows(page->rows);
}

void sb_relay_page_next(sb_relay_page_t *page)
{
    page->row++;
}

/* ---- types ---- */

static sb_code_t keep_type(sb_relay_page_t *page, int type_no, const char *name, int version, sb_error_t *err)
{
    size_t need = (size_t)type_no + 1;
    if (need > page->type_count) {
        sb_relay_type_t *grown = realloc(page->type, need * sizeof *grown);
        if (!grown)
            return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
        memset(grown + page->type_count, 0, (need - page->type_count) * sizeof *grown);
        page->type = grown;
        page->type_count = need;
    }
    page->type[type_no].name = strdup(name);
    page->type[type_no].version = version;
    return page->type[type_no].name ? SB_OK : sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
}

static sb_code_t load_types(sb_relay_page_t *page, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int4(&params, page->type_count > 0 ? (int32_t)page->type_count - 1 : 0);
    sb_code_t code = sb_pg_query(pg, sb_sql_relay_types, &params, &rows, err);
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++)
        code = keep_type(page, (int)sb_pg_get_int(rows, row, 0), sb_pg_get_text(rows, row, 1),
                         (int)sb_pg_get_int(rows, row, 2), err);
    sb_pg_result_free(rows);
    return code;
}

static const sb_relay_type_t *find_type(const sb_relay_page_t *page, int64_t type_no)
{
    bool known = type_no >= 0 && (size_t)type_no < page->type_count && page->type[type_no].name;
    return known ? &page->type[type_no] : NULL;
}

/* ---- rows ---- */

static sb_slice_t meta_text(sb_relay_page_t *page, sb_slice_t meta, int field, const char *name)
{
    sb_scan_value_t value;
    if (!meta.ptr || !sb_scan_field(meta, name, &value) || value.kind != SB_SCAN_STRING)
        return SB_SLICE_NONE;
    return sb_scan_string(&value, &page->meta[field]);
}

sb_code_t sb_relay_page_event(sb_relay_page_t *page, sb_pg_t *pg, sb_event_t *event, sb_error_t *err)
{
    const sb_pg_result_t *rows = page->rows;
    int row = page->row;
    int64_t type_no = sb_pg_get_int(rows, row, TYPE_NO);
    const sb_relay_type_t *type = find_type(page, type_no);
    if (!type) {
        sb_code_t code = load_types(page, pg, err);
        if (code != SB_OK)
            return code;
        type = find_type(page, type_no);
    }
    if (!type || sb_pg_is_null(rows, row, KEY))
        return sb_fail(err, SB_CORRUPT, "event %" PRId64 " has no %s in the store",
                       sb_pg_get_int(rows, row, SEQ), type ? "stream" : "type");
    sb_slice_t meta = sb_pg_is_null(rows, row, META) ? SB_SLICE_NONE : sb_pg_get_slice(rows, row, META);
    *event = (sb_event_t){
        .id = sb_pg_get_uuid(rows, row, ID),
        .type = sb_slice(type->name),
        .schema_version = type->version,
        .source = meta_text(page, meta, 0, "source"),
        .subject = sb_pg_get_slice(rows, row, KEY),
        .time_us = sb_pg_get_time(rows, row, AT),
        .correlation_id = meta_text(page, meta, 1, "correlationid"),
        .causation_id = meta_text(page, meta, 2, "causationid"),
        .traceparent = meta_text(page, meta, 3, "traceparent"),
        .partition_key = meta_text(page, meta, 4, "partitionkey"),
        .data = sb_pg_get_slice(rows, row, DATA),
        .seq = sb_pg_get_int(rows, row, SEQ),
        .stream_no = sb_pg_get_int(rows, row, STREAM_NO),
        .stream_version = (int)sb_pg_get_int(rows, row, VERSION),
        .event_class = (sb_event_class_t)sb_pg_get_int(rows, row, CLASS),
    };
    return SB_OK;
}
