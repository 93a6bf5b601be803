/* event_query - what the routes that read events take from a query alike.
 *
 * Thread: a worker's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_EVENT_QUERY_H
#define SB_SERVER_EVENT_QUERY_H

#include "server/worker.h"

/* types= and category=, borrowed from the request. */
SB_MUST_CHECK sb_code_t sb_event_query_filter(const sb_request_t *request, sb_read_all_t *read,
                                              sb_slice_t types[SB_READ_TYPES_MAX], sb_error_t *err);
/* after= or since=: the seq to read behind; otherwise fallback. */
SB_MUST_CHECK sb_code_t sb_event_query_place(sb_worker_t *worker, const sb_request_t *request,
                                             int64_t fallback, int64_t *after, sb_error_t *err);

#endif
