/* append - events into the store, through its C API and by raw libpq.
 *
 * Both sides write the same rows into the same tables: order.created events of 200 bytes with ids made here,
 * in streams of the same number, one transaction and one round trip an append, binary arrays, prepared. The
 * store validates each body against its schema; the reference does not look at it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_APPEND_H
#define SB_TESTS_BENCH_APPEND_H

#include "tests/bench/place.h"
#include "tests/bench/writers.h"

#define APPEND_BODY      200 /* bytes */
#define APPEND_BATCH_MAX 100

typedef struct append {
    place_t *place;
    int writers;
    int batch; /* events an append */
    double seconds;
} append_t;

/* Writes a body of APPEND_BODY bytes and a NUL, as order.created wants it. */
void append_body(char out[APPEND_BODY + 1], int64_t number);

/* The key of the stream that a writer's next append goes to. */
void append_key(char out[64], const char *side, const writer_t *writer, int batch);

/* Rounds: events a second. */
void append_store(void *context, int round, double *values);
void append_raw(void *context, int round, double *values);

#endif
