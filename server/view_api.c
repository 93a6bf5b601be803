/* Reading views.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/handlers.h"

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
        "\"lag_ms\":%lld,\"parked\":%lld,\"replaying\":%s",
        info->version, info->newest_version, (long long)info->generation, (long long)info->seq,
        (long long)info->lag_events, (long long)info->lag_ms, (long long)info->parked,
        info->replaying ? "true" : "false");
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

sb_code_t sb_get_view(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_view_filter_t filter[SB_VIEW_FILTERS_MAX];
    int64_t limit = 0;
    sb_view_query_t query = {.view = request->param[0], .filters = filter};
    sb_code_t code = sb_request_query_int(request, "limit", 1, SB_VIEW_PAGE_MAX, 50, &limit, err);
    if (code != SB_OK)
        return code;
    query.limit = (int)limit;
    query.table = sb_slice(sb_request_query(request, "table"));
    query.cursor = sb_slice(sb_request_query(request, "cursor"));
    for (int i = 0; i < request->query_count; i++) {
        const char *name = request->query[i].name;
        if (strcmp(name, "limit") == 0 || strcmp(name, "table") == 0 || strcmp(name, "cursor") == 0)
            continue;
        if (query.filter_count == SB_VIEW_FILTERS_MAX)
            return sb_fail(err, SB_INVALID, "more than %d filters", SB_VIEW_FILTERS_MAX);
        filter[query.filter_count++] = (sb_view_filter_t){sb_slice(name), sb_slice(request->query[i].value)};
    }
    return sb_view_read(worker->views, &query, &request->out, err);
}

sb_code_t sb_get_view_row(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"table", NULL};
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code != SB_OK)
        return code;
    return sb_view_read_key(worker->views, request->param[0], sb_slice(sb_request_query(request, "table")),
                            request->param[1], &request->out, err);
}
