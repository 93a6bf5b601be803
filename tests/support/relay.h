/* relay - a relay in a thread over a fresh database, events made by SQL, and a check of what came out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_RELAY_H
#define SB_TESTS_SUPPORT_RELAY_H

#include "bus/relay/relay.h"
#include "tests/support/messages.h"
#include "tests/support/pg_server.h"

#include <pthread.h>

typedef struct sb_test_relay {
    char uri[SB_TEST_URI];
    sb_pg_t *pg; /* the test's own connection */
    sb_config_t *config;
    sb_relay_t *relay;
    pthread_t thread;
    sb_progress_t progress;
    int64_t last; /* seq of the newest event */
} sb_test_relay_t;

/* A fresh database with the types order.created and stock.moved (versions 1), and settings for a broker. */
void sb_test_relay_setup(sb_test_relay_t *t, const char *bootstrap, const char *prefix);
void sb_test_relay_teardown(sb_test_relay_t *t);

/* Appends count events of a type, spread over ten streams of its category, and makes them safe. */
void sb_test_relay_append(sb_test_relay_t *t, const char *type, int count);
/* Makes everything in the event table safe. */
void sb_test_relay_publish(sb_test_relay_t *t);

void sb_test_relay_start(sb_test_relay_t *t);
void sb_test_relay_stop(sb_test_relay_t *t); /* in order; fine when not started */
/* Waits until everything safe is in Kafka. */
void sb_test_relay_wait(sb_test_relay_t *t, int expected_ms);

/* Reads the topic from its beginning and fails unless, with repeats dropped by position, every partition's
 * chain of positions is whole, seq rises, and all count events of the type are there. Returns how many
 * records there were, repeats included. */
size_t sb_test_relay_check(sb_test_relay_t *t, const char *topic, int partitions, const char *type,
                           int count);

#endif
