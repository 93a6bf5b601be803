/* saga_world - what sagas of three steps run in: a database and topics of its own, and a process of
 * participants that do nothing (saga_participant.c). Both sides of `bench saga` have one, with the same
 * participants.
 *
 * One saga in ten is refused at its last step and undone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_SAGA_WORLD_H
#define SB_TESTS_BENCH_SAGA_WORLD_H

#include "tests/bench/place.h"
#include "tests/support/process.h"

#define SAGA_STEPS       3
#define SAGA_REFUSE_EACH 10

enum { SAGA_RATE, SAGA_P50, SAGA_P99, SAGA_ITEMS }; /* the values of a round, as in bare.h */

extern const char *const saga_participant[SAGA_STEPS]; /* step_a, … */

typedef struct saga_world {
    place_t place;
    const char *mode; /* of the participants: noop, barrier, bare, apart, http */
    int port;         /* of those over HTTP; 0: over Kafka */
    sb_test_process_t participants;
} saga_world_t;

/* mode is static text. The participants are not started yet. */
void saga_world_open(saga_world_t *world, const bench_env_t *env, const char *name, const char *mode);
void saga_world_close(saga_world_t *world);
void saga_world_start_participants(saga_world_t *world);
/* That process: noop, bare, apart, barrier or http, until SIGTERM. The exit code. */
int saga_participants_run(const char *mode);

/* The environment of a process of this world; good until the next call. */
const char *const *saga_world_environment(const saga_world_t *world);

bool saga_is_refused(int64_t number);
void saga_input(sb_buf_t *out, int64_t number);

/* Processor time so far, in seconds, of PostgreSQL with all its processes, and of the broker. */
double saga_pg_cpu_s(void);
double saga_kafka_cpu_s(void);

#endif
