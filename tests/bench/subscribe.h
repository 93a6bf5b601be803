/* subscribe - events from Kafka to a handler, plain and with effects in a database, beside librdkafka and
 * libpq alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_SUBSCRIBE_H
#define SB_TESTS_BENCH_SUBSCRIBE_H

#include "tests/bench/bench.h"

void bench_subscribe(const bench_env_t *env, bench_results_t *results);

#endif
