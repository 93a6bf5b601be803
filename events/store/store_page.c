/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_page.h"

#include "events/packed_row.h"

#include <inttypes.h>

#define PAGE_BYTES_MAX (8u << 20)

#define COLUMNS SB_PACKED_FIELDS /* that COPY sends */

void sb_store_page_fini(sb_store_page_t *page)
{
    sb_buf_fini(&page->rows);
    *page = (sb_store_page_t){.count = 0};
}

static sb_code_t take_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    sb_store_page_t *page = context;
    if (!sb_packed_row_add(&page->rows, fields, count))
        return sb_fail(err, SB_CORRUPT, "read: a row is not an event");
    if (sb_buf_failed(&page->rows))
        return sb_fail(err, SB_NO_MEMORY, "read: out of memory for a page of events");
    page->count++;
    page->last_seq = sb_pg_read_int(fields[SB_PACKED_SEQ]);
    page->cut = page->rows.len >= PAGE_BYTES_MAX;
    return page->cut ? SB_STOPPED : SB_OK;
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
    int64_t stream_no = sb_pg_read_int(fields[SB_PACKED_STREAM_NO]);
    return sb_pg_read_int(fields[SB_PACKED_CLASS]) == SB_CLASS_DOMAIN ? stream_no : -stream_no;
}

static sb_code_t load_keys(sb_store_page_t *page, sb_store_t *store, sb_error_t *err)
{
    sb_slice_t fields[COLUMNS];
    sb_code_t code = sb_store_keys_begin(&store->keys, (size_t)page->count, err);
    if (code != SB_OK)
        return code;
    for (page->at = 0; page->at < page->rows.len;) {
        page->at = sb_packed_row_read(&page->rows, page->at, fields);
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
    page->at = sb_packed_row_read(&page->rows, page->at, fields);
    if (fields[SB_PACKED_META].len == 0)
        fields[SB_PACKED_META] = SB_SLICE_NONE;
    fields[COLUMNS] = sb_store_keys_get(&store->keys, key_of(fields));
    *seq = sb_pg_read_int(fields[SB_PACKED_SEQ]);
    return sb_store_deliver(store, fields, on_event, context, err);
}
