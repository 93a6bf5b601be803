/* One stream, by pages, so that neither a large limit nor a long stream is ever held in memory at once. A
 * page is bounded by events and by the bytes of their bodies (stream_read.sql).
 *
 * Versions have no holes, so a page finds as many rows as it asked for, also those that the bytes leave out.
 * When it has not, a range was detached meanwhile or the store is damaged; which of the two is looked up, and
 * nothing is passed over in silence.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_internal.h"

#include "events/saga_number.h"
#include "events_sql.h"

/* ---- names of what is to be read ---- */

bool sb_stream_parse(const char *text, sb_slice_t *category, sb_slice_t *key)
{
    const char *slash = strchr(text, '/');
    if (!slash || slash == text || !slash[1])
        return false;
    *category = (sb_slice_t){text, (size_t)(slash - text)};
    *key = sb_slice(slash + 1);
    return true;
}

sb_code_t sb_read_types_parse(const char *text, sb_slice_t types[SB_READ_TYPES_MAX], size_t *count,
                              sb_error_t *err)
{
    *count = 0;
    while (text && *text) {
        size_t length = strcspn(text, ",");
        if (length > 0 && *count == SB_READ_TYPES_MAX)
            return sb_fail(err, SB_INVALID, "at most %d types and patterns", SB_READ_TYPES_MAX);
        if (length > 0)
            types[(*count)++] = (sb_slice_t){text, length};
        text += length + (text[length] == ',');
    }
    return SB_OK;
}

#define FIRST_PAGE  100
#define PAGE_EVENTS 500

/* One event as the catalog of now sees it: whole, and in the newest version. */
static sb_code_t make_event(sb_store_t *store, const sb_slice_t fields[10], sb_event_t *event,
                            sb_error_t *err)
{
    const sb_upcast_chain_t *chain = NULL;
    sb_code_t code = sb_event_from_row(store->catalog, fields, &store->scratch, event, &chain, err);
    return code == SB_OK && chain ? sb_upcaster_run(store->upcaster, chain, event, err) : code;
}

/* The one place where an event leaves the store for a reader. */
sb_code_t sb_store_deliver(sb_store_t *store, const sb_slice_t fields[10], sb_event_fn on_event,
                           void *context, sb_error_t *err)
{
    sb_event_t event;
    sb_code_t code = make_event(store, fields, &event, err);
    if (code == SB_NOT_FOUND ||
        code == SB_UNSUPPORTED) { /* what another instance registered since we looked */
        sb_error_clear(err);
        code = sb_catalog_load(store->catalog, store->pg, err);
        if (code == SB_OK)
            code = make_event(store, fields, &event, err);
        if (code == SB_NOT_FOUND) /* says something else to who asked for a stream */
            code = sb_fail(err, SB_CORRUPT, "event %lld: its type is not registered", (long long)event.seq);
    }
    return code == SB_OK ? on_event(context, &event, err) : code;
}

sb_code_t sb_store_deliver_row(sb_store_t *store, const sb_pg_result_t *rows, int row, sb_event_fn on_event,
                               void *context, sb_error_t *err)
{
    sb_slice_t fields[10];
    for (int column = 0; column < 10; column++)
        fields[column] = sb_pg_get_slice(rows, row, column);
    return sb_store_deliver(store, fields, on_event, context, err);
}

/* ---- where a stream lies ---- */

typedef struct stream {
    sb_slice_t category, key;
    sb_event_class_t event_class;
    int64_t no, first_seq, last_seq;
    int version, first_version;
} stream_t;

static sb_code_t not_there(const stream_t *stream, sb_error_t *err)
{
    return sb_fail(err, SB_NOT_FOUND, "there is no stream %.*s/%.*s", SB_SLICE_ARG(stream->category),
                   SB_SLICE_ARG(stream->key));
}

static sb_code_t gone(const stream_t *stream, int version, sb_error_t *err)
{
    return sb_fail(err, SB_GONE, "stream %.*s/%.*s: version %d is no longer kept, the first one is %d",
                   SB_SLICE_ARG(stream->category), SB_SLICE_ARG(stream->key), version, stream->first_version);
}

/* The statement and its parameters, by the stream's class. */
static sb_code_t prepare_find(stream_t *stream, const char **sql, sb_pg_params_t *params, sb_error_t *err)
{
    if (!sb_slice_is(stream->category, SB_SAGA_CATEGORY)) {
        stream->event_class = SB_CLASS_DOMAIN;
        *sql = sb_sql_stream_find;
        sb_pg_add_slice(params, stream->category);
        sb_pg_add_slice(params, stream->key);
        return SB_OK;
    }
    sb_uuid_t id;
    stream->event_class = SB_CLASS_SAGA;
    *sql = sb_sql_stream_find_saga;
    if (!sb_uuid_parse(stream->key.ptr, stream->key.len, &id) || !sb_saga_number_of(&id, &stream->no))
        return not_there(stream, err);
    sb_pg_add_int8(params, stream->no);
    sb_pg_add_uuid(params, &id);
    return SB_OK;
}

static sb_code_t find_stream(sb_store_t *store, stream_t *stream, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    const char *sql = NULL;
    sb_code_t code = prepare_find(stream, &sql, &params, err);
    if (code == SB_OK)
        code = sb_pg_query(store->pg, sql, &params, &rows, err);
    if (code != SB_OK)
        return code;
    if (sb_pg_rows(rows) == 0)
        code = not_there(stream, err);
    if (code == SB_OK) {
        stream->no = sb_pg_get_int(rows, 0, 0);
        stream->version = (int)sb_pg_get_int(rows, 0, 1);
        stream->first_version = (int)sb_pg_get_int(rows, 0, 2);
        stream->first_seq = sb_pg_get_int(rows, 0, 3);
        stream->last_seq = sb_pg_get_int(rows, 0, 4);
    }
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_store_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key, sb_stream_info_t *out,
                          sb_error_t *err)
{
    stream_t stream = {.category = category, .key = key};
    *out = (sb_stream_info_t){0, 0};
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = find_stream(store, &stream, err);
    if (code == SB_OK)
        *out = (sb_stream_info_t){stream.version, stream.first_version};
    return code;
}

/* ---- its pages ---- */

/* The versions and the seqs that are still to be read; a page narrows them. */
typedef struct range {
    int low, high;
    int64_t low_seq, high_seq;
} range_t;

static sb_code_t read_page(sb_store_t *store, const stream_t *stream, bool backward, int size,
                           const range_t *range, sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, range->low_seq);
    sb_pg_add_int8(&params, range->high_seq);
    sb_pg_add_int8(&params, stream->no);
    sb_pg_add_int4(&params, range->low);
    sb_pg_add_int4(&params, range->high);
    sb_pg_add_int4(&params, size);
    sb_pg_add_slice(&params, stream->key);
    sb_pg_add_int2(&params, (int16_t)stream->event_class);
    return sb_pg_query(store->pg, backward ? sb_sql_stream_read_back : sb_sql_stream_read, &params, rows,
                       err);
}

/* Version is not where it must be. */
static sb_code_t explain_hole(sb_store_t *store, stream_t *stream, int version, sb_error_t *err)
{
    sb_code_t code = find_stream(store, stream, err);
    if (code == SB_OK && version < stream->first_version)
        return gone(stream, version, err);
    return code == SB_OK ? sb_fail(err, SB_CORRUPT, "stream %.*s/%.*s: version %d is missing",
                                   SB_SLICE_ARG(stream->category), SB_SLICE_ARG(stream->key), version)
                         : code;
}

typedef struct reader {
    stream_t stream;
    range_t range;
    bool backward;
    sb_event_fn on_event;
    void *context;
} reader_t;

static sb_code_t take_row(sb_store_t *store, reader_t *reader, const sb_pg_result_t *rows, int row,
                          sb_error_t *err)
{
    range_t *range = &reader->range;
    int version = (int)sb_pg_get_int(rows, row, 3);
    int wanted = reader->backward ? range->high : range->low;
    if (version != wanted)
        return explain_hole(store, &reader->stream, wanted, err);
    sb_code_t code = sb_store_deliver_row(store, rows, row, reader->on_event, reader->context, err);
    if (reader->backward) {
        range->high_seq = sb_pg_get_int(rows, row, 0) - 1;
        range->high = version - 1;
    } else {
        range->low_seq = sb_pg_get_int(rows, row, 0) + 1;
        range->low = version + 1;
    }
    return code;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static sb_code_t read_pages(sb_store_t *store, reader_t *reader, int limit, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    const range_t *range = &reader->range;
    int page = FIRST_PAGE;
    for (int done = 0; code == SB_OK && done < limit && range->low <= range->high;) {
        sb_pg_result_t *rows = NULL;
        int size = smaller(smaller(page, limit - done), range->high - range->low + 1);
        code = read_page(store, &reader->stream, reader->backward, size, range, &rows, err);
        int count = code == SB_OK ? sb_pg_rows(rows) : 0;
        int found = count ? (int)sb_pg_get_int(rows, 0, 10) : 0;
        for (int i = 0; code == SB_OK && i < count; i++)
            code = take_row(store, reader, rows, i, err);
        sb_pg_result_free(rows);
        if (code == SB_OK && found < size)
            code = explain_hole(store, &reader->stream, reader->backward ? range->high : range->low, err);
        done += count;
        page = PAGE_EVENTS;
    }
    return code;
}

sb_code_t sb_store_read_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key, int from,
                               bool backward, int limit, sb_event_fn on_event, void *context, sb_error_t *err)
{
    reader_t reader = {.stream = {.category = category, .key = key},
                       .backward = backward,
                       .on_event = on_event,
                       .context = context};
    stream_t *stream = &reader.stream;
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = find_stream(store, stream, err);
    if (code != SB_OK)
        return code;
    if (backward && from == 0)
        from = stream->version;
    if (from < stream->first_version && (from > 0 || stream->first_version > 1))
        return gone(stream, from, err);
    reader.range = (range_t){stream->first_version, stream->version, stream->first_seq, stream->last_seq};
    if (backward)
        reader.range.high = smaller(from, stream->version);
    else if (from > reader.range.low)
        reader.range.low = from;
    return read_pages(store, &reader, limit, err);
}
