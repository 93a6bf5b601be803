/* report - results as a table for people and as JSON for scripts, on stdout.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_REPORT_H
#define SB_TESTS_BENCH_REPORT_H

#include "tests/bench/bench.h"

void report_table(const bench_results_t *results);

/* An array of {bench, measure, value, unit, reference, reference_value, ratio, goal, holds}; what a measure
 * does not have is null. */
void report_json(const bench_results_t *results);

#endif
