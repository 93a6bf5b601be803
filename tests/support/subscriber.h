/* subscriber - a world for subscribers: a database with a table of effects, a topic, events with positions,
 * and a subscriber in a thread.
 *
 * The handler writes a row of `effect` for each event, without any constraint, so that what happened twice,
 * not at all or out of order can be seen afterwards.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_SUBSCRIBER_H
#define SB_TESTS_SUPPORT_SUBSCRIBER_H

#include "bus/position.h"
#include "bus/producer.h"
#include "bus/subscriber/subscriber.h"
#include "bus/topic.h"
#include "tests/support/pg_server.h"

#include <pthread.h>
#include <stdatomic.h>

#define SB_TEST_PARTITIONS_MAX 16

typedef struct sb_test_world {
    char uri[SB_TEST_URI];
    const char *bootstrap;
    const char *prefix;
    sb_config_t *config;
    sb_pg_t *pg;
    sb_topic_t topic;
    int32_t partitions;
    sb_producer_t *producer;
    int undelivered; /* records that the producer gave up */
    int64_t next;    /* number of the next event */
    int64_t incarnation;
    int64_t prev[SB_TEST_PARTITIONS_MAX]; /* of the chain of positions */
    bool positions;                       /* events carry sb-pos */
    int keys;
    const char *type; /* of events sent; order.created unless set */
} sb_test_world_t;

/* A fresh database and a topic "<prefix>order.events" that is there already. */
void sb_test_world_open(sb_test_world_t *world, const char *bootstrap, const char *prefix,
                        int32_t partitions);
void sb_test_world_close(sb_test_world_t *world);
/* With what is set now. */
void sb_test_world_renew_producer(sb_test_world_t *world);

/* Sends count events e-<n> of type order.created with key k-<n % keys> and body {"n":<n>}. */
void sb_test_world_send(sb_test_world_t *world, int count);
/* One event as it is, without telling the broker twice; position NULL: none. */
void sb_test_world_send_one(sb_test_world_t *world, const char *key, const char *id, int64_t n,
                            const sb_position_t *position);
/* A record that is no event. */
void sb_test_world_send_bytes(sb_test_world_t *world, const char *key, const char *bytes);
/* Fails unless all that was sent is there. */
void sb_test_world_flush(sb_test_world_t *world);

/* What a handler does besides. */
typedef struct sb_test_handler {
    const char *name;
    atomic_int calls;
    atomic_int slow_ms;          /* each call takes so long */
    atomic_int fail_calls;       /* so many calls for fail_key fail; -1: all */
    atomic_int fail_code;        /* with this code */
    const char *fail_key;        /* NULL: any key */
    atomic_bool break_statement; /* fails by a statement that fails, and says SB_OK */
} sb_test_handler_t;

sb_code_t sb_test_handle(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                         sb_error_t *err);

typedef struct sb_test_subscriber {
    sb_subscriber_t *subscriber;
    pthread_t thread;
    sb_code_t code;
    sb_error_t err;
    bool running;
} sb_test_subscriber_t;

/* Subscriptions of one handler each, group "test"; lanes, order and the like as in like. */
void sb_test_subscriber_start(sb_test_subscriber_t *t, const sb_test_world_t *world,
                              const sb_subscriber_config_t *config);
void sb_test_subscriber_stop(sb_test_subscriber_t *t);

/* How many effects of a subscription there are. */
int64_t sb_test_effects(const sb_test_world_t *world, const char *subscription);
/* Fails unless every event 0..count-1 but `missing` of them had its effect exactly once, in order by key. */
void sb_test_check_effects(const sb_test_world_t *world, const char *subscription, int64_t count);
/* The same as a number: how many things are wrong. */
int64_t sb_test_wrong_effects(const sb_test_world_t *world, const char *subscription, int64_t count);

#endif
