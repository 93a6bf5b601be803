/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mock/relay_world.h"

#include "tests/support/assert.h"

#include <string.h>

static sb_relay_world_t world;

static int world_up(void **state, int brokers)
{
    memset(&world, 0, sizeof world);
    sb_test_mock_open(&world.mock, brokers);
    sb_test_mock_topic(&world.mock, "order.events", 3);
    sb_test_mock_topic(&world.mock, "stock.events", 1);
    sb_test_mock_topic(&world.mock, "saga.events", 1);
    sb_test_relay_setup(&world.relay, world.mock.bootstrap, NULL);
    *state = &world;
    return 0;
}

int sb_relay_world_up(void **state)
{
    return world_up(state, 1);
}

int sb_relay_world_up_three(void **state)
{
    return world_up(state, 3);
}

int sb_relay_world_down(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_teardown(&f->relay);
    sb_test_messages_free(&f->got);
    sb_test_mock_close(&f->mock);
    return 0;
}

void sb_relay_world_read(sb_relay_world_t *f, const char *topic, int32_t partition, size_t count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_reader_t *reader = NULL;
    assert_ok(sb_reader_open(&reader, f->relay.config, "test", &err), &err);
    assert_ok(sb_reader_assign(reader, topic, partition, -1, "", &err), &err);
    sb_test_read(reader, &f->got, count, 10000);
    sb_reader_close(&reader);
}

bool sb_relay_world_error_has(const sb_relay_world_t *f, const char *text)
{
    sb_relay_stats_t stats;
    sb_relay_stats(f->relay.relay, &stats);
    return strstr(stats.error, text) != NULL;
}
