/* http_exchange - a command as an HTTP request, and what the answer to it means.
 *
 * The request is CloudEvents over HTTP in binary mode: the attributes of the Kafka record as headers `ce-…`,
 * percent-encoded where HTTP wants it, the input as the body. docs/contract.md has the table of answers that
 * sb_http_judge is.
 *
 * Thread: any; pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_HTTP_EXCHANGE_H
#define SB_SAGA_HTTP_EXCHANGE_H

#include "base/http_multi.h"
#include "base/webhook.h"
#include "bus/producer.h"
#include "saga/error_class.h"
#include "saga/machine.h"

#define SB_HTTP_LINES_MAX (SB_HEADERS_MAX + 8)

typedef struct sb_http_request {
    sb_buf_t text; /* header lines, each ended by NUL */
    const char *line[SB_HTTP_LINES_MAX];
    size_t count;
} sb_http_request_t;

void sb_http_request_fini(sb_http_request_t *request);

typedef struct sb_http_request_source {
    const sb_header_t *headers; /* of the record */
    size_t header_count;
    sb_slice_t expiry;                 /* in place of its ce_expirytime; absent: as it is */
    sb_slice_t body;                   /* for the signature */
    const char *token;                 /* "": none */
    const sb_webhook_secret_t *secret; /* NULL: not signed */
    int64_t wall_s;
} sb_http_request_source_t;

/* Makes the header lines anew; request->line is ended by NULL and lives until the next make. Signed as the
 * Standard Webhooks have it: webhook-id (the command's id), webhook-timestamp and webhook-signature. */
SB_MUST_CHECK sb_code_t sb_http_request_make(sb_http_request_t *request, const sb_http_request_source_t *from,
                                             sb_error_t *err);

typedef enum sb_http_means {
    SB_HTTP_MEANS_OUTCOME, /* see outcome */
    SB_HTTP_MEANS_WORKING, /* ask again */
    SB_HTTP_MEANS_WAIT /* it was not taken: send it again when retry_after_s are over, and nothing before */
} sb_http_means_t;

typedef enum sb_http_health { SB_HTTP_WELL, SB_HTTP_ILL, SB_HTTP_NOT_SAID } sb_http_health_t;

#define SB_HTTP_ERROR_MAX 300

typedef struct sb_http_verdict {
    sb_http_means_t means;
    sb_outcome_t outcome; /* SUCCESS, FAILURE or ERROR */
    sb_error_class_t error_class;
    bool attention;          /* an ERROR that does not mend itself: an operator must look at it */
    sb_http_health_t health; /* for the circuit breaker */
    int retry_after_s;       /* WORKING, WAIT; -1: not said */
    char error[SB_HTTP_ERROR_MAX];
} sb_http_verdict_t;

void sb_http_judge(const sb_http_result_t *result, sb_http_verdict_t *out);

#endif
