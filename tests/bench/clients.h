/* clients - HTTP clients on keep-alive connections: each sends a request when its last one was answered.
 *
 * One thread and one poll() for all, so that the clients cost little on a machine they share with what they
 * measure.
 *
 * Thread: the caller's; blocks until all are answered.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_CLIENTS_H
#define SB_TESTS_BENCH_CLIENTS_H

#include "base/buf.h"

#define CLIENTS_MAX 256

typedef struct clients_config {
    const char *url;  /* http://127.0.0.1:8088 */
    const char *path; /* with the query */
    int clients;
    double seconds; /* that count; what is open at the end is awaited, and not counted */
    /* Writes the body of the number-th request. */
    void (*write_body)(void *context, int64_t number, sb_buf_t *out);
    /* Looks at an answer; ends the program when it is wrong. */
    void (*check)(void *context, int64_t number, int status, sb_slice_t body);
    void *context;
} clients_config_t;

typedef struct clients_result {
    double rate;   /* answers a second */
    double p50_ms; /* from sending to the whole answer */
    double p99_ms;
} clients_result_t;

void clients_run(const clients_config_t *config, clients_result_t *out);

#endif
