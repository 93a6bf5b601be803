/* Reading events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/event_json.h"
#include "server/handlers.h"

typedef struct page {
    sb_buf_t *out;
    int count;
} page_t;

static sb_code_t write_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    (void)err;
    page_t *page = context;
    if (page->count++ > 0)
        sb_buf_add_char(page->out, ',');
    sb_event_json(event, page->out);
    return SB_OK;
}

#define TYPES_MAX 32

static size_t split_types(const char *text, sb_slice_t types[TYPES_MAX])
{
    size_t count = 0;
    while (text && *text && count < TYPES_MAX) {
        size_t length = strcspn(text, ",");
        if (length > 0)
            types[count++] = (sb_slice_t){text, length};
        text += length + (text[length] == ',');
    }
    return count;
}

sb_code_t sb_get_events(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"after", "types", "category", "limit", NULL};
    sb_slice_t types[TYPES_MAX];
    int64_t limit = 0, last_seq = 0;
    page_t page = {.out = &request->out};
    sb_read_all_t read = {.category = sb_slice(sb_request_query(request, "category")), .types = types};
    read.type_count = split_types(sb_request_query(request, "types"), types);
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "after", 0, INT64_MAX, 0, &read.after_seq, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 1000, 100, &limit, err);
    if (code != SB_OK)
        return code;
    read.limit = (int)limit;
    if (read.type_count == 0)
        read.types = NULL;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code = sb_store_read_all(worker->store, &read, write_event, &page, &last_seq, err);
    sb_buf_printf(&request->out, "],\"next_after\":%lld}\n", (long long)last_seq);
    return code;
}

sb_code_t sb_get_stream(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"from", "backward", "limit", NULL};
    int64_t from = 0, limit = 0;
    bool backward = false;
    page_t page = {.out = &request->out};
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_request_query_bool(request, "backward", &backward, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "from", 0, INT32_MAX, backward ? 0 : 1, &from, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 1000, 100, &limit, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(&request->out, "{\"items\":[");
    code = sb_store_read_stream(worker->store, request->param[0], request->param[1], (int)from, backward,
                                (int)limit, write_event, &page, err);
    sb_buf_add_text(&request->out, "]}\n");
    return code;
}
