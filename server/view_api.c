/* Reading views.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/http_client.h"
#include "server/handlers.h"
#include "server/problem.h"
#include "server/tail.h"

#define WAIT_MS       5000 /* for after_seq without wait */
#define LOOK_EVERY_MS INT64_C(20)

static void member(sb_buf_t *out, const char *name, const char *value)
{
    sb_buf_printf(out, ",\"%s\":", name);
    sb_buf_add_json(out, sb_slice(value));
}

typedef struct listing {
    sb_buf_t *out;
    int count;
} listing_t;

static sb_code_t write_info(void *context, const sb_view_info_t *info, sb_error_t *err)
{
    (void)err;
    listing_t *l = context;
    sb_buf_add_text(l->out, l->count++ ? ",{\"name\":" : "{\"name\":");
    sb_buf_add_json(l->out, sb_slice(info->name));
    member(l->out, "title", info->title);
    sb_buf_printf(
        l->out,
        ",\"version\":%d,\"newest_version\":%d,\"generation\":%lld,\"seq\":%lld,\"lag_events\":%lld,"
        "\"lag_ms\":%lld,\"parked\":%lld,\"outdated\":%s,\"replaying\":%s",
        info->version, info->newest_version, (long long)info->generation, (long long)info->seq,
        (long long)info->lag_events, (long long)info->lag_ms, (long long)info->parked,
        info->outdated ? "true" : "false", info->replaying ? "true" : "false");
    member(l->out, "state", info->state);
    member(l->out, "owner", info->owner);
    member(l->out, "problem", info->problem);
    sb_buf_printf(l->out, ",\"links\":{\"rows\":\"/v1/views/%s\"}}", info->name);
    return SB_OK;
}

sb_code_t sb_get_views(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    listing_t listing = {.out = &request->out};
    sb_buf_add_text(&request->out, "{\"items\":[");
    sb_code_t code = sb_view_list(worker->views, SB_SLICE_NONE, write_info, &listing, err);
    sb_buf_add_text(&request->out, "]}\n");
    return code;
}

/* ---- waiting ---- */

/* after_seq: rows that have this event in them. Until the view is there the request waits without a worker;
 * the answer it has in hand meanwhile, for when its time is over, is that it is not. */
static sb_code_t wait_for_view(const sb_worker_t *worker, sb_request_t *request, int64_t *after_seq,
                               sb_error_t *err)
{
    int64_t wait_max = 0;
    int64_t wait_ms = 0;
    sb_code_t code = sb_request_query_int(request, "after_seq", 1, INT64_MAX, 0, after_seq, err);
    if (code == SB_OK)
        code = sb_config_get_int(worker->engine->config, "http.wait_max_ms", 0, 3600000, &wait_max, err);
    if (code == SB_OK)
        code = sb_request_query_wait(request, wait_max, &wait_ms, err);
    if (code == SB_OK && *after_seq == 0 && wait_ms > 0)
        return sb_fail(err, SB_INVALID, "query parameter wait: wants after_seq, the event to wait for");
    if (!sb_request_query(request, "wait"))
        wait_ms = wait_max < WAIT_MS ? wait_max : WAIT_MS;
    request->wait.until_us = request->started_us + wait_ms * 1000;
    request->wait.seen =
        -1; /* the view moves after the number that wakes who waits: it is looked at by the clock */
    request->answer_type = NULL;
    request->retry_after_s = 0;
    return code;
}

/* What is not there yet is waited for. */
static sb_code_t answer_view(sb_request_t *request, sb_code_t code, const sb_hash_t *hash, sb_error_t *err)
{
    char text[SB_HASH_TEXT];
    if (code == SB_TIMEOUT && request->wait.until_us > sb_mono_us()) {
        sb_problem(request, err);
        request->wait.park = true;
        request->wait.next_us = sb_mono_us() + LOOK_EVERY_MS * 1000;
        return SB_OK;
    }
    if (code != SB_OK)
        return code;
    (void)snprintf(request->etag, sizeof request->etag, "W/\"%.32s\"", sb_hash_format(hash, text));
    if (strstr(request->if_none_match, request->etag) || strcmp(request->if_none_match, "*") == 0) {
        request->status = 304;
        sb_buf_reset(&request->out);
    }
    return SB_OK;
}

/* ---- rows ---- */

static bool is_about_the_page(const char *name)
{
    static const char *const names[] = {"limit",  "table",     "cursor", "sort",
                                        "fields", "after_seq", "wait",   NULL};
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0)
        i++;
    return names[i] != NULL;
}

/* status=paid, amount.gte=1000 */
static void read_filter(const sb_query_pair_t *pair, sb_view_filter_t *out)
{
    static const struct {
        const char *end;
        sb_view_relation_t relation;
    } ends[] = {{".lt", SB_VIEW_BELOW},
                {".lte", SB_VIEW_UP_TO},
                {".gt", SB_VIEW_ABOVE},
                {".gte", SB_VIEW_FROM},
                {".eq", SB_VIEW_IS}};
    const char *dot = strchr(pair->name, '.');
    *out = (sb_view_filter_t){sb_slice(pair->name), SB_VIEW_IS, sb_slice(pair->value)};
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
        if (strcmp(dot, ends[i].end) == 0) {
            out->column.len = (size_t)(dot - pair->name);
            out->relation = ends[i].relation;
        }
}

/* The address of the page but for its cursor, or of the row. */
static void make_link(const sb_request_t *request, bool row, sb_buf_t *out)
{
    sb_buf_add_text(out, "/v1/views/");
    sb_http_encode(out, request->param[0]);
    if (row) {
        sb_buf_add_char(out, '/');
        sb_http_encode(out, request->param[1]);
    }
    char mark = '?';
    for (int i = 0; i < request->query_count; i++) {
        const char *name = request->query[i].name;
        if (strcmp(name, "cursor") == 0 || strcmp(name, "after_seq") == 0 || strcmp(name, "wait") == 0)
            continue;
        sb_buf_add_char(out, mark);
        sb_http_encode(out, sb_slice(name));
        sb_buf_add_char(out, '=');
        sb_http_encode(out, sb_slice(request->query[i].value));
        mark = '&';
    }
}

static sb_code_t read_filters(const sb_request_t *request, sb_view_filter_t *filter, size_t *count,
                              sb_error_t *err)
{
    for (int i = 0; i < request->query_count; i++) {
        if (is_about_the_page(request->query[i].name))
            continue;
        if (*count == SB_VIEW_FILTERS_MAX)
            return sb_fail(err, SB_INVALID, "more than %d filters", SB_VIEW_FILTERS_MAX);
        read_filter(&request->query[i], &filter[(*count)++]);
    }
    return SB_OK;
}

sb_code_t sb_get_view(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_view_filter_t filter[SB_VIEW_FILTERS_MAX];
    sb_buf_t link = SB_BUF_INIT;
    sb_hash_t hash;
    int64_t limit = 0;
    sb_view_query_t query = {.view = request->param[0], .filters = filter};
    sb_code_t code = sb_request_query_int(request, "limit", 1, SB_VIEW_PAGE_MAX, 50, &limit, err);
    if (code == SB_OK)
        code = read_filters(request, filter, &query.filter_count, err);
    if (code == SB_OK)
        code = wait_for_view(worker, request, &query.after_seq, err);
    if (code != SB_OK)
        return code;
    make_link(request, false, &link);
    query.limit = (int)limit;
    query.table = sb_slice(sb_request_query(request, "table"));
    query.cursor = sb_slice(sb_request_query(request, "cursor"));
    query.sort = sb_slice(sb_request_query(request, "sort"));
    query.fields = sb_slice(sb_request_query(request, "fields"));
    query.link = sb_buf_slice(&link);
    code = sb_view_read(worker->views, &query, &request->out, &hash, err);
    sb_buf_fini(&link);
    return answer_view(request, code, &hash, err);
}

sb_code_t sb_get_view_row(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const known[] = {"table", "fields", "after_seq", "wait", NULL};
    sb_hash_t hash;
    sb_buf_t link = SB_BUF_INIT;
    sb_view_query_t query = {.view = request->param[0]};
    sb_code_t code = sb_request_query_only(request, known, err);
    if (code == SB_OK)
        code = wait_for_view(worker, request, &query.after_seq, err);
    if (code != SB_OK)
        return code;
    query.table = sb_slice(sb_request_query(request, "table"));
    query.fields = sb_slice(sb_request_query(request, "fields"));
    make_link(request, true, &link);
    query.link = sb_buf_slice(&link);
    code = sb_view_read_key(worker->views, &query, request->param[1], &request->out, &hash, err);
    sb_buf_fini(&link);
    return answer_view(request, code, &hash, err);
}

/* ---- what is parked ---- */

static sb_code_t write_parked(void *context, const sb_view_parked_info_t *parked, sb_error_t *err)
{
    (void)err;
    char time[SB_TIME_TEXT];
    listing_t *l = context;
    sb_buf_add_text(l->out, l->count++ ? ",{\"table\":" : "{\"table\":");
    sb_buf_add_json(l->out, sb_slice(parked->table));
    if (parked->key)
        member(l->out, "key", parked->key);
    else
        sb_buf_add_text(l->out, ",\"key\":null");
    sb_buf_printf(l->out, ",\"seq\":%lld", (long long)parked->seq);
    member(l->out, "event_type", parked->event_type);
    member(l->out, "error", parked->error);
    member(l->out, "at", sb_time_format(parked->at_us, time));
    sb_buf_add_char(l->out, '}');
    return SB_OK;
}

sb_code_t sb_get_view_parked(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const known[] = {"view", "limit", "cursor", NULL};
    listing_t listing = {.out = &request->out};
    int64_t limit = 0;
    int64_t after = 0;
    int64_t next = 0;
    const char *view = sb_request_query(request, "view");
    sb_code_t code = sb_request_query_only(request, known, err);
    if (code == SB_OK && !view)
        code = sb_fail(err, SB_INVALID,
                       "query parameter view is missing: the view whose parked keys are wanted");
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, SB_VIEW_PAGE_MAX, 50, &limit, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "cursor", 0, INT64_MAX, 0, &after, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code =
        sb_view_parked(worker->views, sb_slice(view), after, (int)limit, write_parked, &listing, &next, err);
    sb_buf_add_text(&request->out, "],\"next_cursor\":");
    if (next)
        sb_buf_printf(&request->out, "\"%lld\"}\n", (long long)next);
    else
        sb_buf_add_text(&request->out, "null}\n");
    return code;
}
