/* request - one HTTP request in hand: what came, and the answer being made.
 *
 * It is made and freed by the HTTP loop's thread. A worker or the orchestrator's callback that has it in hand
 * fills the answer and hands it back by sb_http_done; the client may be gone by then, which the loop alone
 * knows.
 *
 * Thread: one at a time: the loop's, or that of whoever it was handed to.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_REQUEST_H
#define SB_SERVER_REQUEST_H

#include "base/buf.h"
#include "sagabus/event.h"

#include <stdint.h>

#define SB_QUERY_MAX 24
#define SB_PARAM_MAX 2

typedef struct sb_route sb_route_t;
typedef struct sb_http sb_http_t;

typedef struct sb_query_pair {
    const char *name; /* decoded, NUL-ended */
    const char *value;
} sb_query_pair_t;

/* Of a request that waits for news (tail.h). */
typedef struct sb_wait {
    bool park;        /* a worker's answer: there is nothing yet */
    int64_t until_us; /* monotonic */
    int64_t seen;    /* sb_tail_seen before the store was asked; -1: whatever it is, but not before next_us */
    int64_t next_us; /* monotonic: no look before */
    int64_t at;      /* where the next look begins */
    bool counted;    /* tail.c's: a worker has it */
} sb_wait_t;

struct sb_request;

/* Of an answer that goes on: each time the request comes back to the loop, what it has in out is the next
 * piece. Nothing is a sign of life. The next one is asked for when the client has taken this one. */
typedef struct sb_stream {
    bool on;
    bool started;                               /* the loop's: its head is out */
    bool sending;                               /* the loop's: it holds the request until the piece is out */
    bool ended;                                 /* this is the last piece */
    void (*resume)(struct sb_request *request); /* on the loop: takes the request on */
} sb_stream_t;

typedef struct sb_request {
    sb_http_t *http;
    const sb_route_t *route; /* NULL: no route matched */
    void *connection;        /* the loop's; NULL: the client is gone */
    struct sb_request *next; /* the loop's inbox */
    bool done;               /* in the inbox or answered */
    bool head_only;          /* HEAD: no body goes out */
    int64_t started_us;      /* monotonic */

    char method[8];
    char *path;                     /* decoded, without the query */
    sb_slice_t param[SB_PARAM_MAX]; /* {id}, {key} of the route, in order */
    char *query_text;
    sb_query_pair_t query[SB_QUERY_MAX];
    int query_count;
    sb_buf_t body;
    sb_buf_t attributes; /* of its ce- headers: name, NUL, value, NUL, and so on */
    char request_id[72];
    char traceparent[64]; /* one that is valid, or "" */
    char last_event_id[24];
    char if_none_match[256];
    char
        idempotency_key[SB_KEY_MAX + 4]; /* one that is too long, even with its quotes, is cut but still is */
    char content_type[96];
    char authorization[96];
    char caller[64]; /* name of the key, "" without */

    int status;
    const char *answer_type; /* NULL: application/json */
    char location[1024];
    char allow[64];
    char etag[48];     /* "": none */
    int retry_after_s; /* 0: none */
    int first_version; /* with SB_GONE: the first one still kept; 0: not said */
    sb_buf_t out;

    void *state; /* of the handler */
    sb_wait_t wait;
    sb_stream_t stream;
} sb_request_t;

/* Idempotency-Key without the quotes of the draft standard; "" when there is none. */
sb_slice_t sb_request_key(const sb_request_t *request);

/* The decoded value of a query parameter; NULL when it is not there. */
const char *sb_request_query(const sb_request_t *request, const char *name);

/* A whole number from the query within bounds; otherwise when it is not there: fallback. SB_INVALID names it.
 */
SB_MUST_CHECK sb_code_t sb_request_query_int(const sb_request_t *request, const char *name, int64_t low,
                                             int64_t high, int64_t fallback, int64_t *out, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_request_query_bool(const sb_request_t *request, const char *name, bool *out,
                                              sb_error_t *err);

/* "30s", "1500ms", "30": how long the client waits, in milliseconds; 0 when it does not. */
SB_MUST_CHECK sb_code_t sb_request_query_wait(const sb_request_t *request, int64_t wait_max_ms, int64_t *out,
                                              sb_error_t *err);

/* Refuses query parameters that are not in the list (ended by NULL), with the list. */
SB_MUST_CHECK sb_code_t sb_request_query_only(const sb_request_t *request, const char *const *known,
                                              sb_error_t *err);

#endif
