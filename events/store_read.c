/* Reading is by pages, so that neither a large limit nor a large store is ever held in memory at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store_internal.h"

#include "events_sql.h"

#define PAGE_EVENTS 500

/* The one place where an event leaves the store for a reader; a version that is not the newest will be
 * brought up to date here. */
sb_code_t sb_store_deliver(sb_store_t *store, const sb_slice_t fields[10], sb_event_fn on_event,
                           void *context, sb_error_t *err)
{
    sb_event_t event;
    sb_code_t code = sb_event_from_row(store->catalog, fields, &store->scratch, &event, err);
    if (code == SB_NOT_FOUND) { /* a type that another instance registered since we looked */
        sb_error_clear(err);
        code = sb_catalog_load(store->catalog, store->pg, err);
        if (code == SB_OK)
            code = sb_event_from_row(store->catalog, fields, &store->scratch, &event, err);
        if (code == SB_NOT_FOUND) /* says something else to who asked for a stream */
            code = sb_fail(err, SB_CORRUPT, "event %lld: its type is not registered", (long long)event.seq);
    }
    return code == SB_OK ? on_event(context, &event, err) : code;
}

static sb_code_t deliver(sb_store_t *store, const sb_pg_result_t *rows, int row, sb_event_fn on_event,
                         void *context, sb_error_t *err)
{
    sb_slice_t fields[10];
    for (int column = 0; column < 10; column++)
        fields[column] = sb_pg_get_slice(rows, row, column);
    return sb_store_deliver(store, fields, on_event, context, err);
}

static int page_size(int limit, int done)
{
    int left = limit - done;
    return left < PAGE_EVENTS ? left : PAGE_EVENTS;
}

/* ---- one stream ---- */

typedef struct stream {
    int64_t no, first_seq, last_seq;
    int version, first_version;
} stream_t;

static sb_code_t find_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key, stream_t *out,
                             sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_slice(&params, category);
    sb_pg_add_slice(&params, key);
    sb_code_t code = sb_pg_query(store->pg, sb_sql_stream_find, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "there is no stream %.*s %.*s", SB_SLICE_ARG(category),
                       SB_SLICE_ARG(key));
    if (code == SB_OK)
        *out = (stream_t){.no = sb_pg_get_int(rows, 0, 0),
                          .version = (int)sb_pg_get_int(rows, 0, 1),
                          .first_version = (int)sb_pg_get_int(rows, 0, 2),
                          .first_seq = sb_pg_get_int(rows, 0, 3),
                          .last_seq = sb_pg_get_int(rows, 0, 4)};
    sb_pg_result_free(rows);
    return code;
}

/* The versions and the seqs that are still to be read; a page narrows them. */
typedef struct range {
    int low, high;
    int64_t low_seq, high_seq;
} range_t;

static sb_code_t read_stream_page(sb_store_t *store, int64_t stream_no, sb_slice_t key, bool backward,
                                  int size, const range_t *range, sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, range->low_seq);
    sb_pg_add_int8(&params, range->high_seq);
    sb_pg_add_int8(&params, stream_no);
    sb_pg_add_int4(&params, range->low);
    sb_pg_add_int4(&params, range->high);
    sb_pg_add_int4(&params, size);
    sb_pg_add_slice(&params, key);
    return sb_pg_query(store->pg, backward ? sb_sql_stream_read_back : sb_sql_stream_read, &params, rows,
                       err);
}

static void narrow(range_t *range, bool backward, const sb_pg_result_t *rows, int last)
{
    if (backward) {
        range->high_seq = sb_pg_get_int(rows, last, 0) - 1;
        range->high = (int)sb_pg_get_int(rows, last, 3) - 1;
    } else {
        range->low_seq = sb_pg_get_int(rows, last, 0) + 1;
        range->low = (int)sb_pg_get_int(rows, last, 3) + 1;
    }
}

sb_code_t sb_store_read_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key, int from,
                               bool backward, int limit, sb_event_fn on_event, void *context, sb_error_t *err)
{
    stream_t stream = {0};
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = find_stream(store, category, key, &stream, err);
    if (code != SB_OK)
        return code;
    if (backward && from == 0)
        from = stream.version;
    if (from < stream.first_version && (from > 0 || stream.first_version > 1))
        return sb_fail(err, SB_GONE, "stream %.*s %.*s: version %d is no longer kept, the first one is %d",
                       SB_SLICE_ARG(category), SB_SLICE_ARG(key), from, stream.first_version);
    range_t range = {stream.first_version, stream.version, stream.first_seq, stream.last_seq};
    if (backward && from < range.high)
        range.high = from;
    if (!backward && from > range.low)
        range.low = from;
    for (int done = 0; code == SB_OK && done < limit && range.low <= range.high;) {
        sb_pg_result_t *rows = NULL;
        int size = page_size(limit, done);
        code = read_stream_page(store, stream.no, key, backward, size, &range, &rows, err);
        int count = code == SB_OK ? sb_pg_rows(rows) : 0;
        for (int i = 0; code == SB_OK && i < count; i++)
            code = deliver(store, rows, i, on_event, context, err);
        if (code == SB_OK && count > 0)
            narrow(&range, backward, rows, count - 1);
        sb_pg_result_free(rows);
        done += count;
        if (count < size)
            break;
    }
    return code;
}

/* ---- all of the store ---- */

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

typedef struct filter {
    const sb_catalog_t *catalog;
    const sb_read_all_t *read;
    sb_pg_array_t type_nos;
} filter_t;

static bool wants(const sb_read_all_t *read, sb_slice_t type)
{
    if (read->category.ptr && !sb_slice_equal(sb_event_category(type), read->category))
        return false;
    for (size_t i = 0; read->types && i < read->type_count; i++)
        if (sb_slice_equal(read->types[i], type))
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
    return SB_OK;
}

/* The numbers of all registered types and versions that are wanted. The catalog is loaded first: an event of
 * a type we had not heard of must not be taken for one that the filter leaves out. */
static sb_code_t fill_filter(sb_store_t *store, filter_t *filter, sb_error_t *err)
{
    sb_code_t code = sb_catalog_load(store->catalog, store->pg, err);
    if (code == SB_OK)
        code = sb_catalog_each(store->catalog, SB_ARTIFACT_EVENT, add_type, filter, err);
    if (code == SB_OK && sb_pg_array_failed(&filter->type_nos))
        code = sb_fail(err, SB_NO_MEMORY, "read: out of memory");
    return code;
}

static sb_code_t read_page(sb_store_t *store, const filter_t *filter, int64_t after, int64_t to, int size,
                           sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    sb_pg_add_int4(&params, size);
    sb_pg_add_bool(&params, filter->read->category.ptr || filter->read->types);
    sb_pg_add_array(&params, &filter->type_nos);
    sb_pg_add_bool(&params, filter->read->domain_only);
    return sb_pg_query(store->pg, sb_sql_event_read, &params, rows, err);
}

/* Pages from after to to; *at follows. A page that is not full has shown everything up to the end. */
static sb_code_t read_pages(sb_store_t *store, const filter_t *filter, int64_t to, sb_event_fn on_event,
                            void *context, int64_t *at, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int done = 0; code == SB_OK && done < filter->read->limit && *at < to;) {
        sb_pg_result_t *rows = NULL;
        int size = page_size(filter->read->limit, done);
        code = read_page(store, filter, *at, to, size, &rows, err);
        int count = code == SB_OK ? sb_pg_rows(rows) : 0;
        for (int i = 0; code == SB_OK && i < count; i++) {
            code = deliver(store, rows, i, on_event, context, err);
            if (code == SB_OK)
                *at = sb_pg_get_int(rows, i, 0);
        }
        if (code == SB_OK && count < size)
            *at = to;
        sb_pg_result_free(rows);
        done += count;
    }
    return code;
}

sb_code_t sb_store_read_all(sb_store_t *store, const sb_read_all_t *read, sb_event_fn on_event, void *context,
                            int64_t *last_seq, sb_error_t *err)
{
    int64_t at = read->after_seq;
    int64_t to = 0;
    filter_t filter = {.catalog = store->catalog, .read = read};
    sb_pg_array_init(&filter.type_nos, SB_PG_INT4);
    sb_code_t code = sb_store_safe_seq(store, &to, err);
    if (read->to_seq > 0 && read->to_seq < to)
        to = read->to_seq;
    if (code == SB_OK && (read->category.ptr || read->types))
        code = fill_filter(store, &filter, err);
    if (code == SB_OK)
        code = read_pages(store, &filter, to, on_event, context, &at, err);
    sb_pg_array_fini(&filter.type_nos);
    if (last_seq)
        *last_seq = at;
    return code;
}
