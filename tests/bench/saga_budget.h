/* saga_budget - what one saga costs: rows, bytes of WAL, commits, messages, Kafka requests, system calls, and
 * the microseconds of processor time of each part. A figure is a difference of two marks, divided by the
 * sagas between them; some of them PostgreSQL tells ten seconds late, so a mark takes eleven.
 *
 * System calls and Kafka requests are counted by perf; they are left out where it may not look. A Kafka
 * request is a sendmsg: nothing but librdkafka calls that in these processes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_SAGA_BUDGET_H
#define SB_TESTS_BENCH_SAGA_BUDGET_H

#include "tests/bench/saga_world.h"

enum { /* counts */
       BUDGET_EVENTS,
       BUDGET_INSERTS,
       BUDGET_UPDATES,
       BUDGET_WAL,
       BUDGET_COMMITS,
       BUDGET_COMMANDS,
       BUDGET_REPLIES,
       BUDGET_RECORDS,
       BUDGET_REQUESTS_SERVE,
       BUDGET_REQUESTS_PARTICIPANTS,
       BUDGET_CALLS_SERVE,
       BUDGET_CALLS_PARTICIPANTS,
       BUDGET_COUNTS
};

enum { /* seconds of processor time */
       BUDGET_SERVE,
       BUDGET_SERVE_KAFKA,
       BUDGET_PG_SAGA,
       BUDGET_PG_SEQUENCER,
       BUDGET_PG_RELAY,
       BUDGET_PG_REST,
       BUDGET_BROKER,
       BUDGET_PARTICIPANTS,
       BUDGET_CLIENTS,
       BUDGET_PARTS
};

typedef struct budget {
    double count[BUDGET_COUNTS];
    double cpu_s[BUDGET_PARTS];
} budget_t;

typedef struct budget_watch {
    sb_test_process_t serve, participants; /* perf, each beside one of them */
} budget_watch_t;

/* Counts from here to the end of the load, which lasts so long. */
void budget_watch(budget_watch_t *watch, const saga_world_t *world, pid_t serve, double seconds);
/* Takes what perf counted into the later mark. */
void budget_watched(budget_watch_t *watch, budget_t *out);

/* Counts that take their time, and processor time, which is to be read next to the load. */
void budget_counts(const saga_world_t *world, budget_t *out);
void budget_cpu(const saga_world_t *world, pid_t serve, budget_t *out);

/* Adds what lies between the marks, a saga; with plot, draws it there as SVG. */
void budget_report(const char *bench, const budget_t *from, const budget_t *to, int64_t sagas,
                   const char *plot, bench_results_t *results);

#endif
