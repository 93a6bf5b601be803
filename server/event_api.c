/* Reading events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "server/event_json.h"
#include "server/event_query.h"
#include "server/handlers.h"
#include "server/tail.h"

#define ANSWER_BYTES_MAX (8u << 20) /* a page ends early with large bodies */
#define SEARCH_MS        3000       /* and with a filter that finds nothing in a long history */

typedef struct page {
    sb_buf_t *out;
    int count;
    bool full;
    int last_version;
} page_t;

static sb_code_t write_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    page_t *page = context;
    if (page->count > 0 && page->out->len + event->data.len > ANSWER_BYTES_MAX) {
        page->full = true;
        return sb_fail(err, SB_STOPPED, "the page is full");
    }
    if (page->count++ > 0)
        sb_buf_add_char(page->out, ',');
    sb_event_json(event, page->out);
    page->last_version = event->stream_version;
    return SB_OK;
}

/* A page that was full is an answer, no failure. */
static sb_code_t ended(const page_t *page, sb_code_t code, sb_error_t *err)
{
    if (!page->full || code != SB_STOPPED)
        return code;
    sb_error_clear(err);
    return SB_OK;
}

/* ---- waiting ---- */

static sb_code_t read_wait(const sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    int64_t wait_max = 0, wait_ms = 0;
    sb_code_t code =
        sb_config_get_int(worker->engine->config, "http.wait_max_ms", 0, 3600000, &wait_max, err);
    if (code == SB_OK)
        code = sb_request_query_wait(request, wait_max, &wait_ms, err);
    request->wait.until_us = request->started_us + wait_ms * 1000;
    request->wait.seen = sb_tail_seen(worker->engine->tail); /* before the store is asked */
    return code;
}

static void park_if_empty(const page_t *page, sb_request_t *request, int64_t next)
{
    request->wait.park = page->count == 0 && sb_mono_us() < request->wait.until_us;
    request->wait.at = next;
}

/* ---- all ---- */

static sb_code_t read_query(sb_worker_t *worker, sb_request_t *request, sb_read_all_t *read,
                            sb_slice_t types[SB_READ_TYPES_MAX], sb_error_t *err)
{
    static const char *const query[] = {"after", "since", "types",    "category",
                                        "limit", "wait",  "backward", NULL};
    int64_t limit = 0;
    read->budget_ms = SEARCH_MS;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_event_query_filter(request, read, types, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 1000, 100, &limit, err);
    if (code == SB_OK)
        code = read_wait(worker, request, err);
    read->limit = (int)limit;
    if (code == SB_OK && request->wait.at == 0)
        return sb_event_query_place(worker, request, 0, &read->after_seq, err);
    read->after_seq = request->wait.at;
    return code;
}

static sb_code_t read_back_query(const sb_request_t *request, sb_read_all_t *read,
                                 sb_slice_t types[SB_READ_TYPES_MAX], sb_error_t *err)
{
    static const char *const query[] = {"backward", "before", "types", "category", "limit", NULL};
    int64_t limit = 0, before = 0;
    read->backward = true;
    read->budget_ms = SEARCH_MS;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_event_query_filter(request, read, types, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 1000, 100, &limit, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "before", 2, INT64_MAX, 1, &before, err);
    read->limit = (int)limit;
    read->to_seq = before - 1;
    return code;
}

/* Newest first; what is read backward has no news, so nobody waits. */
static sb_code_t get_events_back(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_slice_t types[SB_READ_TYPES_MAX];
    sb_read_all_t read = {.type_count = 0};
    int64_t lowest = 0;
    page_t page = {.out = &request->out};
    sb_code_t code = read_back_query(request, &read, types, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code = sb_store_read_all(worker->store, &read, write_event, &page, &lowest, err);
    code = ended(&page, code, err);
    if (lowest > 1)
        sb_buf_printf(&request->out, "],\"next_before\":%lld}\n", (long long)lowest);
    else
        sb_buf_add_text(&request->out, "],\"next_before\":null}\n");
    return code;
}

sb_code_t sb_get_events(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    bool backward = false;
    sb_code_t asked = sb_request_query_bool(request, "backward", &backward, err);
    if (asked != SB_OK || backward)
        return asked != SB_OK ? asked : get_events_back(worker, request, err);
    sb_slice_t types[SB_READ_TYPES_MAX];
    sb_read_all_t read = {.type_count = 0};
    int64_t last_seq = 0;
    page_t page = {.out = &request->out};
    sb_code_t code = read_query(worker, request, &read, types, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code = sb_store_read_all(worker->store, &read, write_event, &page, &last_seq, err);
    code = ended(&page, code, err);
    sb_buf_printf(&request->out, "],\"next_after\":%lld}\n", (long long)last_seq);
    if (code == SB_OK && last_seq >= request->wait.seen) /* else the search goes on with the next request */
        park_if_empty(&page, request, last_seq);
    return code;
}

/* ---- one stream ---- */

typedef struct stream_query {
    int64_t from, limit;
    bool backward;
} stream_query_t;

static sb_code_t read_stream_query(sb_worker_t *worker, sb_request_t *request, stream_query_t *q,
                                   sb_error_t *err)
{
    static const char *const query[] = {"from", "backward", "limit", "wait", NULL};
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_request_query_bool(request, "backward", &q->backward, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "from", 0, INT32_MAX, q->backward ? 0 : 1, &q->from, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 1000, 100, &q->limit, err);
    if (code == SB_OK && q->backward && sb_request_query(request, "wait"))
        code = sb_fail(err, SB_INVALID, "query parameter wait: what is read backward has no news");
    return code == SB_OK ? read_wait(worker, request, err) : code;
}

/* The version that the next page begins with; backward there may be none. */
static void write_next(const stream_query_t *q, const page_t *page, sb_buf_t *out)
{
    int64_t next = q->from ? q->from : 1;
    if (page->count > 0)
        next = q->backward ? page->last_version - 1 : page->last_version + 1;
    if (q->backward && (page->count == 0 || next == 0))
        sb_buf_add_text(out, "],\"next_from\":null}\n");
    else
        sb_buf_printf(out, "],\"next_from\":%lld}\n", (long long)next);
}

/* So that a client can go on where the stream now begins. */
static void tell_first_version(sb_worker_t *worker, sb_request_t *request)
{
    sb_error_t ignored = SB_ERROR_INIT;
    sb_stream_info_t info;
    if (sb_store_stream(worker->store, request->param[0], request->param[1], &info, &ignored) == SB_OK)
        request->first_version = info.first_version;
}

sb_code_t sb_get_stream(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    stream_query_t q = {.from = 0};
    page_t page = {.out = &request->out};
    sb_code_t code = read_stream_query(worker, request, &q, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code = sb_store_read_stream(worker->store, request->param[0], request->param[1], (int)q.from, q.backward,
                                (int)q.limit, write_event, &page, err);
    code = ended(&page, code, err);
    if (code == SB_GONE)
        tell_first_version(worker, request);
    write_next(&q, &page, &request->out);
    if (code == SB_OK && !q.backward)
        park_if_empty(&page, request, 0);
    return code;
}
