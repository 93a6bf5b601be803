/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_page.h"

#include <inttypes.h>

#define PAGE_BYTES_MAX (8u << 20)

/* The columns that COPY sends: seq, stream_no, at, version, type_no, class, id, meta, data. All but the last
 * two have a fixed size. A row is kept as two lengths and then the images of its columns without gaps. */
#define COLUMNS 9
static const size_t fixed[] = {8, 8, 8, 4, 4, 2, 16};
#define FIXED 7

enum { META = FIXED, DATA };

void sb_store_page_fini(sb_store_page_t *page)
{
    sb_buf_fini(&page->rows);
    *page = (sb_store_page_t){.count = 0};
}

static sb_code_t take_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    sb_store_page_t *page = context;
    bool fits = count == COLUMNS && fields[DATA].ptr;
    for (int i = 0; fits && i < FIXED; i++)
        fits = fields[i].len == fixed[i];
    if (!fits)
        return sb_fail(err, SB_CORRUPT, "read: a row is not an event");
    uint32_t lengths[2] = {(uint32_t)fields[META].len, (uint32_t)fields[DATA].len};
    sb_buf_add(&page->rows, lengths, sizeof lengths);
    for (int i = 0; i < COLUMNS; i++)
        sb_buf_add_slice(&page->rows, fields[i]);
    if (sb_buf_failed(&page->rows))
        return sb_fail(err, SB_NO_MEMORY, "read: out of memory for a page of events");
    page->count++;
    page->last_seq = sb_pg_read_int(fields[0]);
    page->cut = page->rows.len >= PAGE_BYTES_MAX;
    return page->cut ? SB_STOPPED : SB_OK;
}

static void next_row(sb_store_page_t *page, sb_slice_t fields[COLUMNS])
{
    uint32_t lengths[2];
    const char *at = page->rows.ptr + page->at;
    memcpy(lengths, at, sizeof lengths);
    at += sizeof lengths;
    for (int i = 0; i < COLUMNS; i++) {
        fields[i] = (sb_slice_t){at, i < FIXED ? fixed[i] : lengths[i - FIXED]};
        at += fields[i].len;
    }
    page->at = (size_t)(at - page->rows.ptr);
}

/* COPY takes no parameters; what stands in the text are numbers of ours. */
static void write_copy(const sb_store_range_t *range, sb_buf_t *sql)
{
    sb_buf_printf(
        sql,
        "COPY (SELECT seq, stream_no, at, version, type_no, class, id, meta, data FROM sagabus.event "
        "WHERE seq > %" PRId64 " AND seq <= %" PRId64,
        range->after, range->to);
    if (range->domain_only)
        sb_buf_printf(sql, " AND class = %d", SB_CLASS_DOMAIN);
    if (range->type_nos)
        sb_buf_printf(sql, " AND type_no = ANY ('{%s}')", range->type_nos);
    sb_buf_printf(sql, " ORDER BY seq LIMIT %d) TO STDOUT (FORMAT BINARY)", range->limit);
}

/* By which its key is known: store_keys.h. */
static int64_t key_of(const sb_slice_t fields[COLUMNS])
{
    int64_t stream_no = sb_pg_read_int(fields[1]);
    return sb_pg_read_int(fields[5]) == SB_CLASS_DOMAIN ? stream_no : -stream_no;
}

static sb_code_t load_keys(sb_store_page_t *page, sb_store_t *store, sb_error_t *err)
{
    sb_slice_t fields[COLUMNS];
    sb_code_t code = sb_store_keys_begin(&store->keys, (size_t)page->count, err);
    if (code != SB_OK)
        return code;
    for (page->at = 0; page->at < page->rows.len;) {
        next_row(page, fields);
        sb_store_keys_need(&store->keys, key_of(fields));
    }
    page->at = 0;
    return sb_store_keys_load(&store->keys, store->pg, err);
}

sb_code_t sb_store_page_fetch(sb_store_page_t *page, sb_store_t *store, const sb_store_range_t *range,
                              sb_error_t *err)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_reset(&page->rows);
    page->at = 0;
    page->count = 0;
    page->last_seq = 0;
    page->cut = false;
    write_copy(range, &sql);
    sb_code_t code = sb_buf_failed(&sql) ? sb_fail(err, SB_NO_MEMORY, "read: out of memory")
                                         : sb_pg_copy_out(store->pg, sb_buf_text(&sql), take_row, page, err);
    sb_buf_fini(&sql);
    if (page->cut && code == SB_STOPPED)
        code = SB_OK;
    return code == SB_OK ? load_keys(page, store, err) : code;
}

sb_code_t sb_store_page_deliver(sb_store_page_t *page, sb_store_t *store, sb_event_fn on_event, void *context,
                                int64_t *seq, sb_error_t *err)
{
    sb_slice_t fields[COLUMNS + 1];
    next_row(page, fields);
    if (fields[META].len == 0)
        fields[META] = SB_SLICE_NONE;
    fields[COLUMNS] = sb_store_keys_get(&store->keys, key_of(fields));
    *seq = sb_pg_read_int(fields[0]);
    return sb_store_deliver(store, fields, on_event, context, err);
}
