/* saga_bare - what sagas of three steps cost when nobody thinks: the same rows and messages by raw libpq and
 * librdkafka, one transaction and one round trip a batch of what is there. No HTTP, no template, no timer, no
 * state to recover, no log that is read again: a floor, not a rival.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_SAGA_BARE_H
#define SB_TESTS_BENCH_SAGA_BARE_H

#include "tests/bench/saga_world.h"

typedef struct saga_bare saga_bare_t;

/* mode of its participants: noop, bare or apart. public_too: the records of public events, too. */
saga_bare_t *saga_bare_open(const bench_env_t *env, const char *name, const char *mode, bool public_too);
void saga_bare_close(saga_bare_t **bare);

/* Runs so many at once for so long: rate, p50, p99. */
void saga_bare_load(saga_bare_t *bare, int at_once, double seconds, double *values);

pid_t saga_bare_participants(const saga_bare_t *bare);
place_t *saga_bare_place(saga_bare_t *bare);

#endif
