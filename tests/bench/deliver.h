/* deliver - how long an event takes from its commit to a consumer, at a steady rate: through the store, the
 * sequencer and the relay, and the same records by raw librdkafka from produce to consume.
 *
 * Both sides are one process and one consumer of a topic that a round has to itself. Ours counts from the
 * return of the append, which commits each event by itself; the reference from the call that produces the
 * record. Counted is what is sent from half a second after the first event has come through: how long relay,
 * producer and consumer take to open is not an event's way.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_DELIVER_H
#define SB_TESTS_BENCH_DELIVER_H

#include "tests/bench/place.h"

typedef struct deliver {
    place_t *place;
    int rate; /* events a second */
    double seconds;
    int topics; /* made so far */
} deliver_t;

/* Until the broker has compiled the way of a small request: before, its compilers take a third of a processor
 * or more, and each round is quicker than the one before it, which is the other side's. Not shortened by
 * --scale.
 */
void deliver_warm(deliver_t *deliver);

/* Rounds: p50 and p99 in ms, and the rate that was reached. */
void deliver_store(void *context, int round, double *values);
void deliver_raw(void *context, int round, double *values);

#endif
