/* http - the HTTP/1.1 loop: one thread, libevent, every socket and request in hand.
 *
 * Handlers that finish elsewhere hand their request back by sb_http_done, which any thread may call; the loop
 * sends it. Bounded: bodies, headers, time, requests in hand.
 *
 * Thread: open and close from the owner; run from one thread; sb_http_done, post and stop from any; the rest
 * from the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_HTTP_H
#define SB_SERVER_HTTP_H

#include "base/config.h"
#include "server/request.h"

/* Called on the loop for each request whose head and body are in. Must lead to sb_http_done exactly once. */
typedef void (*sb_http_fn)(void *context, sb_request_t *request);

/* Binds; *out is owned. SB_INVALID: the address; SB_DENIED: not loopback without TLS. */
SB_MUST_CHECK sb_code_t sb_http_open(sb_http_t **out, const sb_config_t *config, sb_http_fn on_request,
                                     void *context, sb_error_t *err);
bool sb_http_is_loopback(const sb_http_t *http);
const char *sb_http_address(const sb_http_t *http); /* "http://127.0.0.1:8088" */

void sb_http_run(sb_http_t *http); /* until stopped */
void sb_http_stop(sb_http_t *http);
void sb_http_close(sb_http_t **http);

/* The answer in request is ready. The request belongs to the loop again. */
void sb_http_done(sb_request_t *request);

/* Runs fn(context) on the loop after the next sb_http_wake, if not before: for answers that are not a
 * request. note is the caller's storage until then. */
typedef struct sb_note {
    struct sb_note *next;
    void (*fn)(void *context);
    void *context;
} sb_note_t;
void sb_http_post(sb_http_t *http, sb_note_t *note);
void sb_http_wake(sb_http_t *http); /* once for some notes: each by itself would be a round of the loop */

/* On the loop: runs fn(context), which is the same each time, once after all that is to be read now was read
 * and handed over. */
void sb_http_after_round(sb_http_t *http, void (*fn)(void *context), void *context);

/* Calls fn(context) on the loop after ms; cancel with sb_http_timer_free, also after it fired. NULL: out of
 * memory. */
typedef struct sb_http_timer sb_http_timer_t;
sb_http_timer_t *sb_http_timer_new(sb_http_t *http, int64_t ms, void (*fn)(void *context), void *context);
void sb_http_timer_free(sb_http_timer_t *timer);

typedef struct sb_http_stats { /* totals since start, but for the first four */
    int64_t in_hand;
    int64_t streams;     /* of them, those whose answer goes on */
    int connections;     /* of clients, also those that ask for nothing */
    int connections_max; /* as many there may be */
    uint64_t refused;    /* connections beyond it */
    uint64_t requests;
    uint64_t by_class[6]; /* 2: 2xx … 5: 5xx */
    uint64_t bucket[12];  /* durations up to 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000 ms, more */
    double seconds;       /* sum of durations */
} sb_http_stats_t;

extern const int sb_http_bucket_ms[11];
void sb_http_stats(sb_http_t *http, sb_http_stats_t *out);

#endif
