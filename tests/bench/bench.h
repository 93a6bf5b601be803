/* bench - measures, each beside its reference of the same run.
 *
 * Ours and the reference take turns, round by round, and change who goes first, so that a machine that swings
 * swings for both. A value is the median of its rounds; a ratio is the median of the rounds' own ratios, so
 * it compares neighbours only. References are minimal, raw and fair: the same rows, bytes, headers, batch
 * sizes and durability, by libpq or librdkafka alone.
 *
 * A failure ends the program with a message: no figure is made up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_H
#define SB_TESTS_BENCH_H

#include "sagabus/error.h"

#include <stdint.h>

#define BENCH_ROUNDS_MAX  31
#define BENCH_VALUES_MAX  8
#define BENCH_RESULTS_MAX 128

typedef struct bench_env {
    const char *pg_uri;
    const char *kafka_bootstrap;
    const char *binary;    /* sagabus */
    const char *build_dir; /* where the participants of the order example are */
    const char *only;      /* the part that is wanted; NULL: all */
    const char *plot;      /* where to draw what can be drawn; NULL: nowhere */
    int rounds;            /* of each side */
    double scale;          /* 1: as documented; less: a quick look */
} bench_env_t;

/* One figure of a round. */
typedef struct bench_measure {
    const char *name;
    const char *unit;
    const char *reference; /* what stands beside it, in words; NULL: it stands alone */
    double goal;           /* the ratio to reach, or not to pass when less is better; 0: none is set */
    bool less_is_better;
} bench_measure_t;

/* Fills one value for each measure that it has. */
typedef void (*bench_round_fn)(void *context, int round, double values[BENCH_VALUES_MAX]);

/* Two sides that are compared, and what is measured of them. */
typedef struct bench_pair {
    const char *bench;
    const bench_measure_t *measure; /* ended by a NULL name */
    bench_round_fn run;
    bench_round_fn run_reference;
    void *context;
} bench_pair_t;

typedef struct bench_result {
    const char *bench;
    const bench_measure_t *measure;
    double value;
    double reference_value;
    double ratio, ratio_low, ratio_high; /* 0 without a reference */
} bench_result_t;

typedef struct bench_results {
    bench_result_t item[BENCH_RESULTS_MAX];
    int count;
} bench_results_t;

/* Runs the rounds and adds a result for each measure. */
void bench_compare(const bench_env_t *env, const bench_pair_t *pair, bench_results_t *results);

/* Adds a figure that stands alone. */
void bench_add(bench_results_t *results, const char *bench, const bench_measure_t *measure, double value);

/* Whether the goal is met; true when none is set. */
bool bench_holds(const bench_result_t *result);

/* Whether a part of the benchmark is wanted. */
bool bench_wants(const bench_env_t *env, const char *part);

/* Ends the program with a message. */
_Noreturn void bench_die(const char *format, ...) SB_PRINTF(1, 2);
/* Ends it unless code is SB_OK. */
void bench_ok(sb_code_t code, const sb_error_t *err, const char *doing);
/* Says on stderr what is going on. */
void bench_say(const char *format, ...) SB_PRINTF(1, 2);

/* The benchmarks by name. */
typedef void (*bench_fn)(const bench_env_t *env, bench_results_t *results);
void bench_smoke(const bench_env_t *env, bench_results_t *results);
void bench_append(const bench_env_t *env, bench_results_t *results);
void bench_relay(const bench_env_t *env, bench_results_t *results);
void bench_backlog(const bench_env_t *env, bench_results_t *results); /* a part of both, in relay.c */
void bench_read(const bench_env_t *env, bench_results_t *results);
void bench_replay(const bench_env_t *env, bench_results_t *results);
void bench_saga(const bench_env_t *env, bench_results_t *results);
void bench_publish(const bench_env_t *env, bench_results_t *results); /* direct, in direct.c */

#endif
