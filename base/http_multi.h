/* http_multi - many HTTP calls at once over kept connections, driven by a thread of its own.
 *
 * A redirect is an answer, never followed; proxies of the environment are not used; only http and https are
 * spoken (HTTP/1.1), with certificates checked. Everything is bounded: calls, connections in all and by host,
 * the answer's head and body, the time a call takes from sb_http_multi_send to its end (time in which it
 * waited for a connection counts). A call past the bound of connections waits for one.
 *
 * Guarantee: every call that sb_http_multi_send took ends with exactly one call of its done function, also
 * when it is cancelled and when the client is stopped. A kept connection that the server has closed meanwhile
 * is replaced and the call sent again on a new one, so a server may see one call twice: give it an id.
 *
 * Thread: send and cancel from any thread, also from inside a done function; start and stop from the owner's.
 * done functions run on the client's thread, one after the other: be quick, do not block, call
 * sb_http_multi_stop from elsewhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_HTTP_MULTI_H
#define SB_BASE_HTTP_MULTI_H

#include "base/http_client.h"

typedef struct sb_http_multi sb_http_multi_t;

typedef struct sb_http_multi_config {
    const char *ca_file;           /* PEM, instead of the system's; NULL or "": the system's. Copied */
    uint32_t connect_ms;           /* 0: 5000 */
    uint32_t calls_max;            /* under way or waiting; 0: 1024 */
    uint32_t connections_max;      /* in all; 0: 256 */
    uint32_t host_connections_max; /* to one host and port; 0: 64 */
    size_t answer_bytes_max;       /* of a body; 0: 1 MiB */
} sb_http_multi_config_t;

/* How a call ended; borrowed for the call of done. */
typedef struct sb_http_result {
    /* SB_OK: an answer came, of any status. SB_UNAVAILABLE: no connection, nothing was sent. SB_TIMEOUT: it
     * was sent (as far as is known) and not answered in time. SB_UNKNOWN_OUTCOME: the connection broke before
     * the answer was whole. SB_TOO_LARGE: the answer is. SB_INVALID: not a URL of ours. SB_STOPPED:
     * cancelled. SB_NO_MEMORY. */
    sb_code_t code;
    const sb_error_t *err;
    int status;         /* 0: none came */
    sb_slice_t body;    /* never absent with SB_OK */
    sb_slice_t head;    /* see sb_http_result_header */
    int retry_after_s;  /* of either form, at most 21600; -1: the header was not there */
    int64_t elapsed_us; /* since sb_http_multi_send */
} sb_http_result_t;

/* The value of a header of the answer, absent when it is not there; the last one counts. Name in lower
 * case. What is beyond the first 16 KiB of the head is not kept. */
sb_slice_t sb_http_result_header(const sb_http_result_t *result, const char *name);

typedef void (*sb_http_done_fn)(void *context, const sb_http_result_t *result);

SB_MUST_CHECK sb_code_t sb_http_multi_start(sb_http_multi_t **out, const sb_http_multi_config_t *config,
                                            sb_error_t *err);
/* Ends all calls with SB_STOPPED, then joins the thread. NULL is fine; sets NULL. */
void sb_http_multi_stop(sb_http_multi_t **multi);

/* Takes a call; all of it is copied. *id (may be NULL) names it for sb_http_multi_cancel. Does not block.
 * SB_BUSY: calls_max are there. SB_STOPPED. When it fails done is not called. */
SB_MUST_CHECK sb_code_t sb_http_multi_send(sb_http_multi_t *multi, const sb_http_call_t *call,
                                           sb_http_done_fn done, void *context, uint64_t *id,
                                           sb_error_t *err);

/* Ends the call soon, with SB_STOPPED unless its answer is there by then; the server may carry it out all the
 * same. An id whose call has ended is fine. */
void sb_http_multi_cancel(sb_http_multi_t *multi, uint64_t id);

typedef struct sb_http_multi_stats {
    uint32_t calls;                  /* under way or waiting */
    uint64_t sent, answered, broken; /* since start; broken: ended without an answer */
} sb_http_multi_stats_t;
void sb_http_multi_stats(sb_http_multi_t *multi, sb_http_multi_stats_t *out);

#endif
