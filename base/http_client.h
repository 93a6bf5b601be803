/* http_client - calls an HTTP server and waits for the answer; the connection is kept for the next call.
 *
 * A redirect is an answer, never followed; proxies of the environment are not used; only http and https are
 * spoken, with certificates checked. The answer's body is bounded.
 *
 * Thread: a client belongs to one thread at a time. Blocks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_HTTP_CLIENT_H
#define SB_BASE_HTTP_CLIENT_H

#include "base/buf.h"

typedef struct sb_http_client sb_http_client_t;

#define SB_HTTP_ANSWER_BYTES_MAX (64u << 20)

typedef struct sb_http_client_config {
    const char *ca_file;      /* PEM, instead of the system's; NULL or "": the system's */
    uint32_t connect_ms;      /* 0: 5000 */
    size_t answer_bytes_max;  /* 0: SB_HTTP_ANSWER_BYTES_MAX */
    const char *bearer_token; /* sent as Authorization; NULL or "": none. Copied */
} sb_http_client_config_t;

typedef struct sb_http_call {
    const char *method; /* "GET", "POST" */
    const char *url;
    sb_slice_t body;            /* absent: none */
    const char *content_type;   /* of the body; NULL: application/json */
    const char *const *headers; /* "Name: value", ended by NULL; NULL: none */
    uint32_t timeout_ms;        /* of the whole call; 0: 30000 */
} sb_http_call_t;

typedef struct sb_http_answer {
    int status;
    sb_buf_t body;
    char content_type[96]; /* without parameters, lower case */
    char location[512];
    int retry_after_s; /* -1: the header was not there */
} sb_http_answer_t;

#define SB_HTTP_ANSWER_INIT                                                                                  \
    {                                                                                                        \
        .retry_after_s = -1                                                                                  \
    }

SB_MUST_CHECK sb_code_t sb_http_client_new(sb_http_client_t **out, const sb_http_client_config_t *config,
                                           sb_error_t *err);
void sb_http_client_free(sb_http_client_t **client);

/* Any status is SB_OK. SB_UNAVAILABLE: no connection, nothing was sent. SB_TIMEOUT: no answer in time.
 * SB_UNKNOWN_OUTCOME: the connection broke before the answer was whole. SB_TOO_LARGE: the answer is.
 * SB_INVALID: not a URL of ours. *answer is filled anew; sb_http_answer_fini frees it. */
SB_MUST_CHECK sb_code_t sb_http_client_send(sb_http_client_t *client, const sb_http_call_t *call,
                                            sb_http_answer_t *answer, sb_error_t *err);
void sb_http_answer_fini(sb_http_answer_t *answer);

/* Writes what may be shown of a URL: no user, no password, no query. */
void sb_http_show_url(const char *url, char *out, size_t cap);

/* Appends text so that it can stand in a path segment or a query value. */
void sb_http_encode(sb_buf_t *out, sb_slice_t text);

#endif
