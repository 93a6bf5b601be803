/* combine - single events of many callers: through the appender, over HTTP, and beside others.
 *
 * The callers append one order.created event of 200 bytes at a time, each when its last one was answered, in
 * 1000 streams a caller. The raw reference has as many connections as the appender and as many rows a commit
 * as the appender had; message-db has a connection for each client.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_COMBINE_H
#define SB_TESTS_BENCH_COMBINE_H

#include "sagabus/appender.h"
#include "tests/bench/append.h"
#include "tests/support/process.h"

#define COMBINE_CALLERS 64

typedef struct combine {
    place_t *place;
    int connections;
    double seconds;
    double rows;             /* a commit, in the last round */
    const char *message_db;  /* folder of its SQL */
    int clients;             /* of message-db; 0: as many as are best for it */
    sb_test_process_t serve; /* of the HTTP rounds */
    sb_appender_t *appender; /* while a round runs */
} combine_t;

/* Rounds: events a second. */
void combine_appender(void *context, int round, double *values);
void combine_raw(void *context, int round, double *values);
void combine_http(void *context, int round, double *values);
void combine_message_db(void *context, int round, double *values);

void combine_serve(combine_t *combine);
void combine_stop(combine_t *combine);

/* Makes message-db's schema in the place's database. */
void combine_install_message_db(const combine_t *combine);

#endif
