/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_page.h"

#include "base/scan.h"
#include "bus_sql.h"
#include "events/saga_types.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES (4u << 20)
#define PAGE_SEQS  4096
#define FEW_SEQS   256 /* by the statement */
#define REACH_MIN  (2 * FEW_SEQS)
#define RECENT_MAX (1u << 20) /* bytes at a time, under a lock */

/* The columns of the statement; COPY gives all but the key. */
enum { KEY = SB_PACKED_FIELDS, COLUMNS };

void sb_relay_page_init(sb_relay_page_t *page)
{
    *page = (sb_relay_page_t){.reach = PAGE_SEQS};
}

void sb_relay_page_drop(sb_relay_page_t *page)
{
    sb_pg_result_free(page->few);
    page->few = NULL;
    page->loaded = false;
}

void sb_relay_page_fini(sb_relay_page_t *page)
{
    sb_relay_page_drop(page);
    sb_buf_fini(&page->recent);
    sb_buf_fini(&page->many);
    sb_store_keys_fini(&page->keys);
    sb_relay_sagas_fini(&page->sagas);
    for (int i = 0; i < SB_RELAY_META_FIELDS; i++)
        sb_buf_fini(&page->meta[i]);
    for (size_t i = 0; i < page->type_count; i++)
        free(page->type[i].name);
    free(page->type);
    sb_relay_page_init(page);
}

/* ---- a few, by the statement ---- */

/* A page that was cut for its bytes ends with its last row; else it covers the whole range. */
static int64_t end_of(const sb_pg_result_t *rows, int64_t to)
{
    size_t bytes = 0;
    int count = sb_pg_rows(rows);
    for (int row = 0; row < count; row++)
        bytes += sb_pg_get_slice(rows, row, SB_PACKED_DATA).len;
    return bytes >= PAGE_BYTES ? sb_pg_get_int(rows, count - 1, SB_PACKED_SEQ) : to;
}

static sb_code_t load_few(sb_relay_page_t *page, sb_pg_t *pg, int64_t after, int64_t to, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_array_t names;
    sb_pg_array_init(&names, SB_PG_TEXT);
    for (size_t i = 0; sb_saga_public_type(i); i++)
        sb_pg_array_add_slice(&names, sb_slice(sb_saga_public_type(i)));
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    sb_pg_add_array(&params, &names);
    sb_pg_add_int8(&params, PAGE_BYTES);
    sb_code_t code = sb_pg_array_failed(&names)
                         ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory")
                         : sb_pg_query(pg, sb_sql_relay_page, &params, &page->few, err);
    sb_pg_array_fini(&names);
    if (code != SB_OK)
        return code;
    page->row = 0;
    page->count = sb_pg_rows(page->few);
    page->end = end_of(page->few, to);
    return SB_OK;
}

/* ---- many, by COPY ---- */

/* COPY takes no parameters; what stands in the text are numbers and names of ours. */
static void write_copy(int64_t after, int64_t to, sb_buf_t *sql)
{
    sb_buf_printf(
        sql,
        "COPY (SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data "
        "FROM sagabus.event e "
        "WHERE e.seq > %" PRId64 " AND e.seq <= %" PRId64 " AND (e.class = 1 OR e.type_no = ANY "
        "(ARRAY(SELECT t.type_no FROM sagabus.event_type t WHERE t.name IN (",
        after, to);
    for (size_t i = 0; sb_saga_public_type(i); i++)
        sb_buf_printf(sql, "%s'%s'", i ? "," : "", sb_saga_public_type(i));
    sb_buf_add_text(sql, ")))) ORDER BY e.seq) TO STDOUT (FORMAT BINARY)");
}

static sb_code_t take_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    sb_relay_page_t *page = context;
    if (!sb_packed_row_add(&page->many, fields, count))
        return sb_fail(err, SB_CORRUPT, "relay: a row is not an event");
    if (sb_buf_failed(&page->many))
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    page->count++;
    page->last_seq = sb_pg_read_int(fields[SB_PACKED_SEQ]);
    page->cut = page->many.len >= PAGE_BYTES;
    return page->cut ? SB_STOPPED : SB_OK;
}

/* The row at page->at; page->next is behind it. */
static void unpack(sb_relay_page_t *page, sb_slice_t fields[COLUMNS])
{
    page->next = sb_packed_row_read(&page->many, page->at, fields);
    fields[KEY] = SB_SLICE_NONE;
}

static void begin_many(sb_relay_page_t *page)
{
    sb_buf_reset(&page->many);
    page->row = page->count = 0;
    page->cut = false;
}

static sb_code_t load_many(sb_relay_page_t *page, sb_pg_t *pg, int64_t after, int64_t to, sb_error_t *err)
{
    sb_buf_t sql = SB_BUF_INIT;
    begin_many(page);
    if (to - after > page->reach)
        to = after + page->reach;
    write_copy(after, to, &sql);
    sb_code_t code = sb_buf_failed(&sql) ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory")
                                         : sb_pg_copy_out(pg, sb_buf_text(&sql), take_row, page, err);
    sb_buf_fini(&sql);
    if (page->cut && code == SB_STOPPED)
        code = SB_OK;
    if (code != SB_OK)
        return code;
    page->end = page->cut ? page->last_seq : to;
    /* To end a COPY costs a connection: the next one is to fit. */
    page->reach = page->cut ? (page->end - after) / 2 : page->reach * 2;
    page->reach = page->reach < REACH_MIN ? REACH_MIN : page->reach > PAGE_SEQS ? PAGE_SEQS : page->reach;
    return SB_OK;
}

/* ---- types ---- */

static bool is_public(const char *type)
{
    for (size_t i = 0; sb_saga_public_type(i); i++)
        if (strcmp(type, sb_saga_public_type(i)) == 0)
            return true;
    return false;
}

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
    page->type[type_no].is_public = is_public(name);
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

/* ---- either ---- */

/* The row at hand; of one by COPY, page->next is behind it. */
static void read_row(sb_relay_page_t *page, sb_slice_t fields[COLUMNS])
{
    if (page->few) {
        for (int i = 0; i < COLUMNS; i++)
            fields[i] = sb_pg_is_null(page->few, page->row, i) ? SB_SLICE_NONE
                                                               : sb_pg_get_slice(page->few, page->row, i);
        return;
    }
    unpack(page, fields);
    if (fields[SB_PACKED_META].len == 0)
        fields[SB_PACKED_META] = SB_SLICE_NONE;
}

static bool is_domain(const sb_slice_t fields[COLUMNS])
{
    return sb_pg_read_int(fields[SB_PACKED_CLASS]) == SB_CLASS_DOMAIN;
}

/* NULL: a number that is not given. */
static sb_code_t type_of(sb_relay_page_t *page, sb_pg_t *pg, const sb_slice_t fields[COLUMNS],
                         const sb_relay_type_t **out, sb_error_t *err)
{
    int64_t type_no = sb_pg_read_int(fields[SB_PACKED_TYPE_NO]);
    *out = find_type(page, type_no);
    if (*out)
        return SB_OK;
    sb_code_t code = load_types(page, pg, err);
    *out = code == SB_OK ? find_type(page, type_no) : NULL;
    return code;
}

static sb_code_t need_saga(sb_relay_page_t *page, sb_pg_t *pg, const sb_slice_t fields[COLUMNS],
                           sb_error_t *err)
{
    int64_t no = sb_pg_read_int(fields[SB_PACKED_STREAM_NO]);
    const sb_relay_type_t *type = NULL;
    sb_code_t code = type_of(page, pg, fields, &type, err);
    if (type && strcmp(type->name, "saga.started") == 0)
        sb_relay_sagas_note(&page->sagas, no, fields[SB_PACKED_DATA]);
    sb_relay_sagas_need(&page->sagas, no);
    return code;
}

/* ---- those of this process ---- */

static sb_code_t take_recent(sb_relay_page_t *page, sb_pg_t *pg, sb_error_t *err)
{
    sb_slice_t rows = sb_buf_slice(&page->recent), fields[COLUMNS];
    sb_code_t code = SB_OK;
    begin_many(page);
    while (code == SB_OK && sb_packed_row_next(&rows, fields)) {
        const sb_relay_type_t *type = NULL;
        code = is_domain(fields) ? SB_OK : type_of(page, pg, fields, &type, err);
        if (code == SB_OK && (is_domain(fields) || (type && type->is_public)))
            code = take_row(page, fields, KEY, err);
    }
    return code;
}

/* *out: the page is loaded. Small parts of a range are left to PostgreSQL: it reads the whole as quickly. */
static sb_code_t load_recent(sb_relay_page_t *page, sb_pg_t *pg, sb_progress_t *progress, int64_t after,
                             int64_t to, bool *out, sb_error_t *err)
{
    sb_buf_reset(&page->recent);
    int64_t end = sb_progress_recent(progress, after, to, RECENT_MAX, &page->recent);
    *out = end > after && (end == to || end - after >= FEW_SEQS || page->recent.len >= RECENT_MAX);
    if (!*out)
        return SB_OK;
    page->end = end;
    return take_recent(page, pg, err);
}

/* ---- all of them ---- */

/* What is not in the rows: whose they are. */
static sb_code_t load_keys(sb_relay_page_t *page, sb_pg_t *pg, sb_error_t *err)
{
    sb_slice_t fields[COLUMNS];
    sb_code_t code = sb_relay_sagas_begin(&page->sagas, err);
    if (code == SB_OK && !page->few)
        code = sb_store_keys_begin(&page->keys, (size_t)page->count, err);
    if (code != SB_OK)
        return code;
    page->at = 0;
    for (page->row = 0; code == SB_OK && page->row < page->count; sb_relay_page_next(page)) {
        read_row(page, fields);
        if (!is_domain(fields))
            code = need_saga(page, pg, fields, err);
        else if (!page->few)
            sb_store_keys_need(&page->keys, sb_pg_read_int(fields[SB_PACKED_STREAM_NO]));
    }
    page->row = 0;
    page->at = 0;
    if (code == SB_OK)
        code = sb_relay_sagas_load(&page->sagas, pg, err);
    return code == SB_OK && !page->few ? sb_store_keys_load(&page->keys, pg, err) : code;
}

sb_code_t sb_relay_page_load(sb_relay_page_t *page, sb_pg_t *pg, sb_progress_t *progress, int64_t after,
                             int64_t to, sb_error_t *err)
{
    bool at_hand = false;
    sb_relay_page_drop(page);
    sb_code_t code = load_recent(page, pg, progress, after, to, &at_hand, err);
    if (code == SB_OK && !at_hand)
        code =
            to - after <= FEW_SEQS ? load_few(page, pg, after, to, err) : load_many(page, pg, after, to, err);
    if (code == SB_OK)
        code = load_keys(page, pg, err);
    if (code != SB_OK)
        return sb_context(err, code, "read events after %" PRId64, after);
    page->loaded = true;
    return SB_OK;
}

bool sb_relay_page_is_loaded(const sb_relay_page_t *page)
{
    return page->loaded;
}

bool sb_relay_page_has_row(const sb_relay_page_t *page)
{
    return page->loaded && page->row < page->count;
}

void sb_relay_page_next(sb_relay_page_t *page)
{
    page->row++;
    page->at = page->next;
}

/* ---- rows ---- */

static sb_code_t read_key(sb_relay_page_t *page, sb_pg_t *pg, sb_slice_t fields[COLUMNS], sb_error_t *err)
{
    int64_t stream_no = sb_pg_read_int(fields[SB_PACKED_STREAM_NO]);
    if (is_domain(fields)) {
        if (!page->few)
            fields[KEY] = sb_store_keys_get(&page->keys, stream_no);
        return SB_OK;
    }
    sb_code_t code = sb_relay_sagas_get(&page->sagas, pg, stream_no, page->saga, err);
    fields[KEY] = sb_slice(page->saga);
    return code;
}

static sb_slice_t meta_text(sb_relay_page_t *page, sb_slice_t meta, int field, const char *name)
{
    sb_scan_value_t value;
    if (!meta.ptr || !sb_scan_field(meta, name, &value) || value.kind != SB_SCAN_STRING)
        return SB_SLICE_NONE;
    return sb_scan_string(&value, &page->meta[field]);
}

sb_code_t sb_relay_page_event(sb_relay_page_t *page, sb_pg_t *pg, sb_event_t *event, sb_error_t *err)
{
    sb_slice_t fields[COLUMNS];
    read_row(page, fields);
    int64_t seq = sb_pg_read_int(fields[SB_PACKED_SEQ]);
    const sb_relay_type_t *type = NULL;
    sb_code_t code = read_key(page, pg, fields, err);
    if (code == SB_OK)
        code = type_of(page, pg, fields, &type, err);
    if (code != SB_OK)
        return code;
    if (!type || !fields[KEY].ptr || fields[SB_PACKED_ID].len != sizeof event->id.byte)
        return sb_fail(err, SB_CORRUPT, "event %" PRId64 " has no %s in the store", seq,
                       type ? "stream" : "type");
    *event = (sb_event_t){
        .type = sb_slice(type->name),
        .schema_version = type->version,
        .source = meta_text(page, fields[SB_PACKED_META], 0, "source"),
        .subject = fields[KEY],
        .time_us = sb_pg_read_time(fields[SB_PACKED_AT]),
        .correlation_id = meta_text(page, fields[SB_PACKED_META], 1, "correlationid"),
        .causation_id = meta_text(page, fields[SB_PACKED_META], 2, "causationid"),
        .traceparent = meta_text(page, fields[SB_PACKED_META], 3, "traceparent"),
        .partition_key = meta_text(page, fields[SB_PACKED_META], 4, "partitionkey"),
        .data = fields[SB_PACKED_DATA],
        .seq = seq,
        .stream_no = sb_pg_read_int(fields[SB_PACKED_STREAM_NO]),
        .stream_version = (int)sb_pg_read_int(fields[SB_PACKED_VERSION]),
        .event_class = (sb_event_class_t)sb_pg_read_int(fields[SB_PACKED_CLASS]),
    };
    memcpy(event->id.byte, fields[SB_PACKED_ID].ptr, sizeof event->id.byte);
    return SB_OK;
}
