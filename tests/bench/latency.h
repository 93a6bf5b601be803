/* latency - times that were taken, and their percentiles.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_LATENCY_H
#define SB_TESTS_BENCH_LATENCY_H

#include <stddef.h>
#include <stdint.h>

typedef struct latency {
    int64_t *us;
    size_t count;
    size_t cap;
} latency_t;

void latency_add(latency_t *latency, int64_t us);
/* In milliseconds; 0 when there is none. Sorts. */
double latency_percentile_ms(latency_t *latency, double percent);
void latency_fini(latency_t *latency);

#endif
