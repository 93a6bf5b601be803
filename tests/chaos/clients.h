/* clients - those who start, look at and cancel sagas while a chaos run breaks things, and keep the record of
 * what they asked and were told.
 *
 * A start that gets no answer is asked again under its key. Some start the same saga from two places at once,
 * some come again with another input under a known key, some cancel at any moment.
 *
 * Thread: threads of their own; the functions belong to the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_CLIENTS_H
#define SB_TESTS_CHAOS_CLIENTS_H

#include "tests/chaos/record.h"
#include "tests/chaos/world.h"

typedef struct chaos_clients chaos_clients_t;

/* sagas: how many to start in about seconds, if the world lets them, and more until they may end: faults
 * without sagas would prove nothing. */
chaos_clients_t *chaos_clients_start(const chaos_world_t *world, int sagas, int seconds);
int chaos_clients_accepted(chaos_clients_t *clients);
void chaos_clients_let_end(chaos_clients_t *clients);
bool chaos_clients_are_done(chaos_clients_t *clients);
/* Starts no new ones; those without an answer are asked again until there is one or the time is over. The
 * record's calls are added. */
void chaos_clients_stop(chaos_clients_t **clients, int64_t timeout_ms, chaos_record_t *record);

#endif
