/* writers - several threads that append for a given time, each over a connection of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_WRITERS_H
#define SB_TESTS_BENCH_WRITERS_H

#include <stdint.h>

#define WRITERS_MAX 64

typedef struct writer {
    int number;
    int round;
    const void *context;
    int64_t until_us; /* monotonic; set when all are connected */
    int64_t count;    /* what it has done: the work adds to it */
} writer_t;

typedef struct writer_ops {
    void *(*open)(writer_t *writer);
    void (*step)(writer_t *writer, void *opened); /* one transaction */
    void (*close)(void *opened);
} writer_ops_t;

/* Units a second of all writers together, between the moment that all are connected and the end of the last.
 */
double writers_run(const writer_ops_t *ops, int writers, int round, const void *context, double seconds);

#endif
