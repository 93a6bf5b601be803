/* push_request - an event as the HTTP request that delivers it, and what the answer means.
 *
 * CloudEvents over HTTP, binary mode: the body is the event's, each attribute a header `ce-<name>` with its
 * value percent-encoded where HTTP wants it, `ce-sequence` the event's place in the store; structured mode:
 * the whole event is the body. Signed or not, `webhook-id` is the event's id.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_REQUEST_H
#define SB_BUS_PUSH_REQUEST_H

#include "base/http_client.h"
#include "bus/message.h"
#include "bus/push/push_endpoint.h"

#define SB_PUSH_HEADERS_MAX (SB_HEADERS_MAX + 8)

typedef struct sb_push_request {
    sb_http_call_t call; /* borrows from the rest and from the event */
    sb_buf_t body;       /* structured mode */
    sb_buf_t text;       /* the headers, each ended by NUL */
    bool replay;         /* set by the owner: `sb-replay: true` tells the receiver that it is history */
    const char *header[SB_PUSH_HEADERS_MAX];
} sb_push_request_t;

void sb_push_request_fini(sb_push_request_t *request);

/* Makes the request of an event anew, with the time of its signature. */
SB_MUST_CHECK sb_code_t sb_push_request_make(sb_push_request_t *request, const sb_event_t *event,
                                             const sb_push_endpoint_t *endpoint, bool structured,
                                             uint32_t timeout_ms, int64_t wall_s, sb_error_t *err);

typedef enum sb_push_verdict {
    SB_PUSH_DONE,     /* 2xx */
    SB_PUSH_REJECTED, /* 400, 409, 413, 415, 422: this event, whenever it comes */
    SB_PUSH_WAIT,     /* 429, and 503 with Retry-After: everything, later */
    SB_PUSH_GONE,     /* 410: the endpoint wants nothing more */
    SB_PUSH_FAILED,   /* any other answer */
    SB_PUSH_SILENT    /* no answer, or one of a proxy that got none: 502, 503, 504 */
} sb_push_verdict_t;

/* status 0: there was no answer. */
sb_push_verdict_t sb_push_verdict(int status, int retry_after_s);

#endif
