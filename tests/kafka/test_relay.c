/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/relay.h"

#include "bus/relay/relay_admin.h"
#include "bus/topic.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    char prefix[SB_TEST_PREFIX];
    sb_topic_t topic;
    sb_test_relay_t relay;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    sb_error_t err = SB_ERROR_INIT;
    memset(&fixture, 0, sizeof fixture);
    sb_test_relay_setup(&fixture.relay, sb_test_kafka(), sb_test_kafka_prefix(fixture.prefix));
    sb_test_bus_set(fixture.relay.config, "topics.partitions", "3");
    assert_ok(sb_topic_events(fixture.topic, fixture.prefix, SB_SLICE("order"), &err), &err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_teardown(&f->relay);
    return 0;
}

static void sends_every_event_once_and_makes_its_topic(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 5000);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    assert_int_equal(sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 5000), 5000);
}

static void loses_nothing_when_the_broker_is_killed(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_wait(&f->relay, 30000);
    for (int i = 0; i < 2; i++) {
        sb_test_relay_append(&f->relay, "order.created", 20000);
        sb_test_kafka_control("kill");
        sb_test_relay_append(&f->relay, "order.created", 1000);
        sb_test_kafka_control("start");
    }
    sb_test_relay_wait(&f->relay, 90000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 43000);
    print_message("%zu records for 43000 events\n", records);
}

static void loses_nothing_when_the_broker_stands_still(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 5000);
    sb_test_sleep_ms(3000);
    sb_test_kafka_control("resume");
    sb_test_relay_wait(&f->relay, 60000);
    (void)sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 6000);
}

static int64_t cursor_of(fixture_t *f)
{
    return sb_test_pg_int(f->relay.pg, "SELECT cursor FROM sagabus.lease WHERE role = 'relay'");
}

static int relay_until_killed(void *context)
{
    fixture_t *f = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_t *relay = NULL;
    sb_relay_config_t config = {.config = f->relay.config, .pg_uri = f->relay.uri, .owner = "child"};
    if (sb_relay_open(&relay, &config, &err) != SB_OK)
        return 1;
    sb_relay_run(relay);
    return 0;
}

static void repeats_at_most_when_it_is_killed_itself(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 1000);
    for (int i = 0; i < 6; i++) {
        sb_test_process_t child = {.pid = 0};
        sb_test_fork(&child, relay_until_killed, f);
        sb_test_relay_append(&f->relay, "order.created", 4000);
        sb_test_sleep_ms(20 + 45 * i); /* amid its start, its sending, or after it */
        sb_test_signal(&child, SIGKILL);
        (void)sb_test_wait(&child, 60000);
        sb_test_process_end(&child);
    }
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 60000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 25000);
    print_message("%zu records for 25000 events\n", records);
}

/* It ends while the broker stands still and everything that fits is under way; its successor sends the rest.
 */
static void a_full_queue_is_handed_over_when_it_is_stopped(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 20000); /* more than the ring holds */
    sb_test_sleep_ms(1000);
    sb_test_relay_stop(&f->relay);
    sb_test_relay_start(&f->relay);
    sb_test_sleep_ms(500);
    sb_test_kafka_control("resume");
    sb_test_relay_wait(&f->relay, 60000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 21000);
    print_message("%zu records for 21000 events\n", records);
}

/* It stands still itself, with everything that fits under way, and is replaced; when it wakes up its queue
 * goes out late, beside what its successor has sent since. */
static void a_full_queue_that_comes_after_a_takeover_is_dropped_as_repeats(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t child = {.pid = 0};
    sb_test_bus_set(f->relay.config, "lease.overdue_ms", "1000");
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_fork(&child, relay_until_killed, f);
    assert_soon(cursor_of(f) == f->relay.last, 60000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 20000); /* more than the ring holds */
    sb_test_sleep_ms(500);
    sb_test_signal(&child, SIGSTOP);
    sb_test_kafka_control("resume");
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 90000);
    sb_test_signal(&child, SIGCONT);
    sb_test_relay_append(&f->relay, "order.created", 2000);
    sb_test_relay_wait(&f->relay, 90000);
    sb_test_sleep_ms(300); /* what the old one still has */
    sb_test_process_end(&child);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 23000);
    print_message("%zu records for 23000 events\n", records);
}

static sb_relay_rebuild_state_t fill_again(fixture_t *f, bool recreate)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    sb_relay_rebuild_state_t state = {.ended = false};
    assert_ok(sb_relay_rebuild_request(f->relay.pg, "order", recreate, "test", &no, &err), &err);
    int64_t until = sb_test_mono_ms() + 60000;
    while (!state.ended) {
        assert_true(sb_test_mono_ms() < until);
        assert_ok(sb_relay_rebuild_look(f->relay.pg, no, &state, &err), &err);
        sb_test_sleep_ms(20);
    }
    return state;
}

/* What was sent after the loss has lower events before it, or a new consumer would miss them. */
static void a_lost_topic_is_filled_again_from_the_store(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 3000);
    sb_test_relay_append(&f->relay, "stock.moved", 50);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("wipe");
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 90000);

    sb_relay_rebuild_state_t refused = fill_again(f, false);
    assert_contains(refused.error, "has records: --recreate");
    sb_relay_rebuild_state_t done = fill_again(f, true);
    assert_string_equal(done.error, "");
    assert_int_equal(done.sent, 3100);
    sb_test_relay_append(&f->relay, "order.created", 20);
    sb_test_relay_wait(&f->relay, 30000);
    assert_int_equal(sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 3120), 3120);
}

static void goes_on_after_the_brokers_data_was_wiped(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("wipe");
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 90000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_every_event_once_and_makes_its_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(loses_nothing_when_the_broker_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(loses_nothing_when_the_broker_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(repeats_at_most_when_it_is_killed_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_is_handed_over_when_it_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_that_comes_after_a_takeover_is_dropped_as_repeats, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_topic_is_filled_again_from_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_after_the_brokers_data_was_wiped, setup, teardown),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
