/* All of the store, up to the safe sequence number.
 *
 * Few events come from a prepared statement, in one round trip; many by COPY (store_page.h). The first page
 * of all comes together with the bounds: whoever follows the store waits for one round trip. A filter may
 * leave out nearly everything, so with one a statement looks at a window of seqs, which widens as long as it
 * costs little: none of them runs for minutes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/store/store_page.h"
#include "events_sql.h"

#define FEW_EVENTS       200
#define FIRST_PAGE       500
#define PAGE_EVENTS      8192
#define PAGE_BYTES_GUESS INT64_C(4194304) /* what a page should not be much larger than */
#define WINDOW_FIRST     INT64_C(65536)
#define WINDOW_MAX       INT64_C(2000000)
#define WINDOW_QUICK_US  200000

sb_code_t sb_store_safe_seq(sb_store_t *store, int64_t *out, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    *out = 0;
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = sb_pg_query(store->pg, sb_sql_safe_seq, NULL, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 1)
        *out = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return code;
}

/* Up to where the read may go; SB_GONE: it begins in what was detached. */
static sb_code_t take_bounds(const sb_pg_result_t *rows, const sb_read_all_t *read, int64_t *to,
                             sb_error_t *err)
{
    int64_t gone = sb_pg_get_int(rows, 0, 0);
    *to = sb_pg_get_int(rows, 0, 1);
    if (read->after_seq < gone)
        return sb_fail(err, SB_GONE, "events up to %lld are no longer kept: read after %lld", (long long)gone,
                       (long long)gone);
    if (read->to_seq > 0 && read->to_seq < *to)
        *to = read->to_seq;
    return SB_OK;
}

/* A saga's events and the domain's are detached apart. */
static sb_code_t read_bounds(sb_store_t *store, const sb_read_all_t *read, int64_t *to, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_bool(&params, read->domain_only);
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = sb_pg_query(store->pg, sb_sql_read_bounds, &params, &rows, err);
    if (code == SB_OK)
        code = take_bounds(rows, read, to, err);
    sb_pg_result_free(rows);
    return code;
}

/* ---- the filter ---- */

typedef struct filter {
    const sb_catalog_t *catalog;
    const sb_read_all_t *read;
    bool by_type;
    sb_pg_array_t type_nos;
    sb_buf_t text; /* the same, for COPY */
} filter_t;

static bool wants(const sb_read_all_t *read, sb_slice_t type)
{
    if (read->category.ptr && !sb_slice_equal(sb_event_category(type), read->category))
        return false;
    for (size_t i = 0; read->types && i < read->type_count; i++)
        if (sb_event_type_matches(read->types[i], type))
            return true;
    return read->types == NULL;
}

static sb_code_t add_type(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    (void)err;
    filter_t *filter = context;
    if (!wants(filter->read, sb_slice(artifact->name)))
        return SB_OK;
    const sb_event_type_t *type =
        sb_catalog_type(filter->catalog, sb_slice(artifact->name), artifact->version);
    sb_pg_array_add_int4(&filter->type_nos, type->type_no);
    sb_buf_printf(&filter->text, "%s%d", filter->text.len ? "," : "", type->type_no);
    return SB_OK;
}

/* The numbers of all registered types and versions that are wanted. The catalog is loaded first: an event of
 * a type we had not heard of must not be taken for one that the filter leaves out. */
static sb_code_t fill_filter(sb_store_t *store, filter_t *filter, sb_error_t *err)
{
    filter->by_type = filter->read->category.ptr || filter->read->types;
    if (!filter->by_type)
        return SB_OK;
    sb_code_t code = sb_catalog_load(store->catalog, store->pg, err);
    if (code == SB_OK)
        code = sb_catalog_each(store->catalog, SB_ARTIFACT_EVENT, add_type, filter, err);
    if (code == SB_OK && (sb_pg_array_failed(&filter->type_nos) || sb_buf_failed(&filter->text)))
        code = sb_fail(err, SB_NO_MEMORY, "read: out of memory");
    return code;
}

/* ---- pages ---- */

typedef struct reader {
    sb_store_t *store;
    filter_t filter;
    sb_event_fn on_event;
    void *context;
    int64_t at; /* everything up to here was looked at */
    int64_t to;
    int64_t done;
    int page_events;
    int64_t window;
    sb_store_page_t page;
} reader_t;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* end 0: as far as is safe. */
static void page_params(const reader_t *r, int64_t end, int limit, sb_pg_params_t *params)
{
    sb_pg_add_int8(params, r->at);
    if (end)
        sb_pg_add_int8(params, end);
    else
        sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_int4(params, limit);
    sb_pg_add_bool(params, r->filter.by_type);
    sb_pg_add_array(params, &r->filter.type_nos);
    sb_pg_add_bool(params, r->filter.read->domain_only);
}

static sb_code_t deliver_few(reader_t *r, const sb_pg_result_t *rows, int limit, bool *all, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    int count = sb_pg_rows(rows);
    for (int i = 0; code == SB_OK && i < count; i++) {
        code = sb_store_deliver_row(r->store, rows, i, r->on_event, r->context, err);
        if (code == SB_OK)
            r->at = sb_pg_get_int(rows, i, 0);
    }
    *all = count == 0 || (sb_pg_get_int(rows, 0, 10) == count && count < limit);
    r->done += count;
    return code;
}

/* One page of at most limit events up to end; *all: there are no more. */
static sb_code_t read_few(reader_t *r, int64_t end, int limit, bool *all, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    page_params(r, end, limit, &params);
    sb_code_t code = sb_pg_query(r->store->pg, sb_sql_event_read, &params, &rows, err);
    if (code == SB_OK)
        code = deliver_few(r, rows, limit, all, err);
    sb_pg_result_free(rows);
    return code;
}

/* The bounds, and then the first events: safe_seq may have moved between the two statements, never back. */
static sb_code_t read_first(reader_t *r, sb_error_t *err)
{
    const sb_read_all_t *read = r->filter.read;
    int limit = (int)smaller(read->limit, FEW_EVENTS);
    sb_pg_params_t bounds = SB_PG_PARAMS_INIT, page = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *rows[2] = {NULL, NULL};
    bool all = false;
    sb_pg_add_bool(&bounds, read->domain_only);
    page_params(r, read->to_seq > 0 ? read->to_seq : 0, limit, &page);
    sb_pg_batch_add(&batch, sb_sql_read_bounds, &bounds);
    sb_pg_batch_add(&batch, sb_sql_event_read, &page);
    sb_code_t code = sb_store_ready(r->store, err);
    if (code == SB_OK)
        code = sb_pg_batch_run(r->store->pg, &batch, rows, NULL, err);
    if (code == SB_OK)
        code = take_bounds(rows[0], read, &r->to, err);
    if (code == SB_OK)
        code = deliver_few(r, rows[1], limit, &all, err);
    if (code == SB_OK && all && r->at < r->to)
        r->at = r->to;
    sb_pg_result_free(rows[0]);
    sb_pg_result_free(rows[1]);
    return code;
}

/* Bodies may have 900,000 bytes: pages grow only where they turn out to be small. */
static void size_pages(reader_t *r)
{
    if (r->page.count == 0)
        return;
    int64_t average = (int64_t)r->page.rows.len / r->page.count + 1;
    int64_t fits = PAGE_BYTES_GUESS / average + 1;
    r->page_events = (int)smaller(smaller(fits, PAGE_EVENTS), INT64_C(4) * r->page_events);
}

static sb_code_t read_many(reader_t *r, int64_t end, int limit, bool *all, sb_error_t *err)
{
    sb_store_range_t range = {.after = r->at,
                              .to = end,
                              .limit = limit,
                              .domain_only = r->filter.read->domain_only,
                              .type_nos = r->filter.by_type ? sb_buf_text(&r->filter.text) : NULL};
    sb_code_t code = sb_store_page_fetch(&r->page, r->store, &range, err);
    for (int i = 0; code == SB_OK && i < r->page.count; i++) {
        int64_t seq = 0;
        code = sb_store_page_deliver(&r->page, r->store, r->on_event, r->context, &seq, err);
        if (code == SB_OK)
            r->at = seq;
    }
    r->done += r->page.count;
    *all = r->page.count < limit && !r->page.cut;
    size_pages(r);
    return code;
}

static sb_code_t read_page(reader_t *r, sb_error_t *err)
{
    bool filtered = r->filter.by_type || r->filter.read->domain_only;
    int64_t left = r->filter.read->limit - r->done;
    int64_t end = filtered ? smaller(r->to, r->at + r->window) : r->to;
    bool few = smaller(left, end - r->at) <= FEW_EVENTS; /* there are at most as many events as numbers */
    int limit = (int)smaller(left, few ? FEW_EVENTS : r->page_events);
    int64_t start_us = sb_mono_us();
    bool all = false;
    sb_code_t code = few ? read_few(r, end, limit, &all, err) : read_many(r, end, limit, &all, err);
    if (code != SB_OK)
        return code;
    if (all)
        r->at = end;
    if (sb_mono_us() - start_us < WINDOW_QUICK_US)
        r->window = smaller(r->window * 2, WINDOW_MAX);
    return SB_OK;
}

static sb_code_t read_pages(reader_t *r, sb_error_t *err)
{
    const sb_read_all_t *read = r->filter.read;
    int64_t until_us = read->budget_ms ? sb_mono_us() + (int64_t)read->budget_ms * 1000 : INT64_MAX;
    sb_code_t code = SB_OK;
    while (code == SB_OK && r->done < read->limit && r->at < r->to) {
        code = read_page(r, err);
        if (sb_mono_us() > until_us)
            break;
    }
    return code;
}

/* ---- backward ---- */

/* r->at: everything from there up was looked at. */
static sb_code_t read_page_back(reader_t *r, int64_t low, sb_error_t *err)
{
    bool filtered = r->filter.by_type || r->filter.read->domain_only;
    int64_t end = r->at - 1;
    int64_t begin = filtered && end - r->window > low ? end - r->window : low;
    int limit = (int)smaller(r->filter.read->limit - r->done, FEW_EVENTS);
    int64_t start_us = sb_mono_us();
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    bool all = false;
    sb_pg_add_int8(&params, begin);
    sb_pg_add_int8(&params, end);
    sb_pg_add_int4(&params, limit);
    sb_pg_add_bool(&params, r->filter.by_type);
    sb_pg_add_array(&params, &r->filter.type_nos);
    sb_pg_add_bool(&params, r->filter.read->domain_only);
    sb_code_t code = sb_pg_query(r->store->pg, sb_sql_event_read_back, &params, &rows, err);
    if (code == SB_OK)
        code = deliver_few(r, rows, limit, &all, err);
    sb_pg_result_free(rows);
    if (code == SB_OK && all)
        r->at = begin + 1;
    if (sb_mono_us() - start_us < WINDOW_QUICK_US)
        r->window = smaller(r->window * 2, WINDOW_MAX);
    return code;
}

/* From where downwards, and how far down: *low is not read any more. */
static sb_code_t bounds_back(sb_store_t *store, const sb_read_all_t *read, int64_t *from, int64_t *low,
                             sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_bool(&params, read->domain_only);
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = sb_pg_query(store->pg, sb_sql_read_bounds, &params, &rows, err);
    if (code != SB_OK)
        return code;
    int64_t gone = sb_pg_get_int(rows, 0, 0);
    *from = sb_pg_get_int(rows, 0, 1);
    sb_pg_result_free(rows);
    if (read->to_seq > 0 && read->to_seq < *from)
        *from = read->to_seq;
    *low = read->after_seq > gone ? read->after_seq : gone;
    return gone > 0 && *from <= gone ? sb_fail(err, SB_GONE,
                                               "events up to %lld are no longer kept: what is read backward "
                                               "ends at %lld",
                                               (long long)gone, (long long)gone + 1)
                                     : SB_OK;
}

static sb_code_t read_back(reader_t *r, sb_error_t *err)
{
    const sb_read_all_t *read = r->filter.read;
    int64_t until_us = read->budget_ms ? sb_mono_us() + (int64_t)read->budget_ms * 1000 : INT64_MAX;
    int64_t from = 0, low = 0, ignored = 0;
    sb_code_t code = bounds_back(r->store, read, &from, &low, err);
    if (code == SB_OK)
        code = fill_filter(r->store, &r->filter, err);
    r->at = from + 1;
    while (code == SB_OK && r->done < read->limit && r->at - 1 > low) {
        code = read_page_back(r, low, err);
        if (sb_mono_us() > until_us)
            break;
    }
    sb_read_all_t again = *read;
    again.to_seq = r->at; /* what was read last must still be there: a range may have gone meanwhile */
    if (code == SB_OK && r->done > 0)
        code = bounds_back(r->store, &again, &from, &ignored, err);
    return code;
}

sb_code_t sb_store_read_all(sb_store_t *store, const sb_read_all_t *read, sb_event_fn on_event, void *context,
                            int64_t *last_seq, sb_error_t *err)
{
    reader_t r = {.store = store,
                  .filter = {.catalog = store->catalog, .read = read},
                  .on_event = on_event,
                  .context = context,
                  .at = read->after_seq,
                  .page_events = FIRST_PAGE,
                  .window = WINDOW_FIRST};
    sb_pg_array_init(&r.filter.type_nos, SB_PG_INT4);
    int64_t ignored = 0;
    bool plain = !read->category.ptr && !read->types && !read->domain_only && read->limit > 0;
    sb_code_t code = read->backward ? read_back(&r, err)
                     : plain        ? read_first(&r, err)
                                    : read_bounds(store, read, &r.to, err);
    if (code == SB_OK && !plain && !read->backward)
        code = fill_filter(store, &r.filter, err);
    if (code == SB_OK && !read->backward)
        code = read_pages(&r, err);
    if (code == SB_OK && !read->backward && r.done > FEW_EVENTS) /* long enough for a range to have gone */
        code = read_bounds(store, read, &ignored, err);
    sb_store_page_fini(&r.page);
    sb_pg_array_fini(&r.filter.type_nos);
    sb_buf_fini(&r.filter.text);
    if (last_seq)
        *last_seq = r.at;
    return code;
}
