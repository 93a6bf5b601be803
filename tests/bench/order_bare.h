/* order_bare - what order sagas cost when nobody thinks: the same rows and messages by raw libpq and
 * librdkafka.
 *
 * One thread writes the sagas' rows and sends the commands, five write the participants' rows and send the
 * replies, each in batches of what is there, one transaction and one round trip a batch. 64 sagas are in
 * flight. There is no state to recover, no template, no timer, no validation, no HTTP; no event goes on to
 * Kafka and no view is folded. So this is a floor, not a rival.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_ORDER_BARE_H
#define SB_TESTS_BENCH_ORDER_BARE_H

#include "tests/bench/order.h"

typedef struct order_bare order_bare_t;

/* A database and topics of its own, on the same servers. */
order_bare_t *order_bare_open(const bench_env_t *env, double seconds);
void order_bare_close(order_bare_t **bare);
place_t *order_bare_place(order_bare_t *bare);

void order_bare_warm(order_bare_t *bare, double seconds);

/* Rounds: as order_run. */
void order_bare_run(void *context, int round, double *values);

#endif
