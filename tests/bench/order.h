/* order - whole order sagas: HTTP clients that wait, a `sagabus serve`, five participants, Kafka, PostgreSQL.
 *
 * One saga in ten is refused at its last step (customer alan) and undone. What is counted is answered:
 * completed or compensated, as it should be, or the benchmark ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_ORDER_H
#define SB_TESTS_BENCH_ORDER_H

#include "tests/bench/place.h"
#include "tests/support/process.h"

#define ORDER_PARTICIPANTS 5
#define ORDER_IN_FLIGHT    64
#define ORDER_REFUSED_EACH 10 /* every tenth saga is refused */

enum { ORDER_RATE, ORDER_P50, ORDER_P99 }; /* the values of a round */

extern const char *const order_participant[ORDER_PARTICIPANTS];

/* Prepares a place for order sagas: the participants' schemas with plenty of stock and money, and the topics.
 */
void order_prepare(place_t *place);

/* The input of a saga, as a client sends it. */
void order_input(sb_buf_t *out, const char *order_id, bool refused);

/* What a saga cost, by what is in the database. */
typedef struct order_cost {
    double saga_events, saga_event_bytes; /* bytes of body and attributes */
    double other_events, other_event_bytes;
    double barriers, effects;
} order_cost_t;

void order_cost(place_t *place, order_cost_t *out);

typedef struct order {
    place_t place;
    double seconds;
    int64_t started; /* sagas so far, so that no order comes twice */
    sb_test_process_t serve;
    sb_test_process_t participant[ORDER_PARTICIPANTS];
    int64_t ended;     /* sagas so far, as they should */
    int64_t counted;   /* of them, in the rounds */
    double serve_s;    /* processor time of serve in the rounds */
    double services_s; /* of the participants */
} order_t;

void order_open(order_t *order, const bench_env_t *env, double seconds);
void order_close(order_t *order);

/* Load without measuring, for a broker and a server that have just started. */
void order_warm(order_t *order, double seconds);

/* Rounds: sagas a second, p50 and p99 in ms. */
void order_run(void *context, int round, double *values);

#endif
