/* faults - what a chaos run does to its world, one fault after the other by a plan made from the seed, and
 * how often each really hit.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_FAULTS_H
#define SB_TESTS_CHAOS_FAULTS_H

#include "tests/chaos/world.h"

#define CHAOS_FAULT_MAP(ROW) /* enum, class, what, how many for 10,000 sagas */                              \
    ROW(KILL_SERVE, "F1", "serve killed", 250)                                                               \
    ROW(KILL_IN_COMMIT, "F2", "serve killed before its commit went out", 40)                                 \
    ROW(KILL_AFTER_COMMIT, "F2", "serve killed after its commit, before it knew", 40)                        \
    ROW(STOP_SERVE, "F3", "serve stopped, past its lease as a rule", 20)                                     \
    ROW(STOP_SERVICE, "F3", "service stopped", 12)                                                           \
    ROW(PG_POSTMASTER, "F4", "PostgreSQL: postmaster killed", 4)                                             \
    ROW(PG_ALL, "F4", "PostgreSQL: all processes killed", 4)                                                 \
    ROW(PG_IMMEDIATE, "F4", "PostgreSQL: stopped immediately", 4)                                            \
    ROW(PG_STOP_BACKEND, "F4", "PostgreSQL: an orchestrator's backend stopped", 8)                           \
    ROW(PG_TERMINATE, "F4", "PostgreSQL: all backends terminated", 10)                                       \
    ROW(LOSE_COMMIT, "F7", "answer to an orchestrator's commit lost", 170)                                   \
    ROW(LOSE_SERVICE_COMMIT, "F7", "answer to a service's commit lost", 50)                                  \
    ROW(BROKER_KILL, "F8", "broker killed", 5)                                                               \
    ROW(BROKER_PAUSE, "F8", "broker stopped for seconds", 4)                                                 \
    ROW(BROKER_WIPE, "F8", "broker lost everything", 1)                                                      \
    ROW(SERVICE_CRASH, "F10", "service died within its transaction or right after", 20)                      \
    ROW(SERVICE_KILL, "F10", "service killed", 8)                                                            \
    ROW(HTTP_CRASH, "F10", "service over HTTP died with a call in hand", 20)

typedef enum chaos_fault {
#define CHAOS_ROW(name, class, text, count) CHAOS_F_##name,
    CHAOS_FAULT_MAP(CHAOS_ROW)
#undef CHAOS_ROW
        CHAOS_FAULTS
} chaos_fault_t;

typedef struct chaos_tally {
    int planned, done;
    int hit;           /* … while sagas were open */
    int64_t open_most; /* sagas open at one of them */
} chaos_tally_t;

typedef struct chaos_faults chaos_faults_t;

/* A plan for so many sagas, at least one of each fault; fewer than 1,000 sagas: but for those that take long.
 */
chaos_faults_t *chaos_faults_new(chaos_world_t *world, int sagas);
void chaos_faults_free(chaos_faults_t **faults);
int chaos_faults_left(const chaos_faults_t *faults);

/* Commits the next one. */
void chaos_faults_next(chaos_faults_t *faults);
/* Carries out what is due by now: lets go on what was stopped, starts what died. */
void chaos_faults_tend(chaos_faults_t *faults);
/* Everything is back and runs when it returns. */
void chaos_faults_heal(chaos_faults_t *faults);

const chaos_tally_t *chaos_faults_tally(const chaos_faults_t *faults, chaos_fault_t fault);
void chaos_faults_print(const chaos_faults_t *faults);

#endif
