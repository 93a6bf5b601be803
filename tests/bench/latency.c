/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/latency.h"

#include "tests/bench/bench.h"

#include <stdlib.h>

void latency_add(latency_t *latency, int64_t us)
{
    if (latency->count == latency->cap) {
        latency->cap = latency->cap ? latency->cap * 2 : 4096;
        latency->us = realloc(latency->us, latency->cap * sizeof *latency->us);
        if (!latency->us)
            bench_die("out of memory");
    }
    latency->us[latency->count++] = us;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double latency_percentile_ms(latency_t *latency, double percent)
{
    if (latency->count == 0)
        return 0;
    qsort(latency->us, latency->count, sizeof *latency->us, by_time);
    size_t at = (size_t)(percent / 100 * (double)latency->count);
    return (double)latency->us[at < latency->count ? at : latency->count - 1] / 1000;
}

void latency_fini(latency_t *latency)
{
    free(latency->us);
    *latency = (latency_t){.us = NULL};
}
