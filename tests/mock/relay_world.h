/* relay_world - a mock cluster with the topics of events, and a relay over a fresh database: the place where
 * the tests of the relay act. One at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_MOCK_RELAY_WORLD_H
#define SB_TESTS_MOCK_RELAY_WORLD_H

#include "tests/support/messages.h"
#include "tests/support/mock.h"
#include "tests/support/relay.h"

typedef struct sb_relay_world {
    sb_test_mock_t mock;
    sb_test_relay_t relay;
    sb_test_messages_t got;
} sb_relay_world_t;

/* For cmocka: one broker or three with order.events (3 partitions), stock.events and saga.events (one each).
 */
int sb_relay_world_up(void **state);
int sb_relay_world_up_three(void **state);
int sb_relay_world_down(void **state);

/* Adds what the partition holds to got, from its beginning; fails unless count records come. */
void sb_relay_world_read(sb_relay_world_t *f, const char *topic, int32_t partition, size_t count);

/* The relay's last error holds this text. */
bool sb_relay_world_error_has(const sb_relay_world_t *f, const char *text);

#endif
