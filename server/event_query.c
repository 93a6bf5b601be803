/* SPDX-License-Identifier: Apache-2.0 */
#include "server/event_query.h"

#include "base/clock.h"

sb_code_t sb_event_query_filter(const sb_request_t *request, sb_read_all_t *read,
                                sb_slice_t types[SB_READ_TYPES_MAX], sb_error_t *err)
{
    read->category = sb_slice(sb_request_query(request, "category"));
    sb_code_t code = sb_read_types_parse(sb_request_query(request, "types"), types, &read->type_count, err);
    read->types = read->type_count ? types : NULL;
    return code == SB_OK ? SB_OK : sb_context(err, code, "query parameter types");
}

sb_code_t sb_event_query_place(sb_worker_t *worker, const sb_request_t *request, int64_t fallback,
                               int64_t *after, sb_error_t *err)
{
    const char *since = sb_request_query(request, "since");
    int64_t time_us = 0;
    if (!since)
        return sb_request_query_int(request, "after", 0, INT64_MAX, fallback, after, err);
    if (sb_request_query(request, "after"))
        return sb_fail(err, SB_INVALID, "query parameters since and after: only one of them");
    if (!sb_time_parse(sb_slice(since), &time_us))
        return sb_fail(err, SB_INVALID,
                       "query parameter since=%s: RFC 3339 is wanted, as 2026-11-21T05:19:35Z", since);
    sb_code_t code = sb_store_seq_since(worker->store, time_us, after, err);
    *after -= 1;
    return code;
}
