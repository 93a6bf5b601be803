/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/mock.h"

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_topic_list_t list;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    sb_test_mock_open(&fixture.mock, 1);
    fixture.config = sb_test_bus_config(fixture.mock.bootstrap, NULL);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_topic_list_fini(&f->list);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static void sees_what_is_there_and_makes_nothing(void **state)
{
    fixture_t *f = *state;
    sb_test_mock_topic(&f->mock, "order.events", 3);
    assert_ok(sb_topic_list_add(&f->list, "order.events", 1, &f->err), &f->err);
    assert_ok(sb_topic_list_add(&f->list, "saga.events", 1, &f->err), &f->err);
    for (int i = 0; i < 2; i++) {
        assert_ok(sb_topics_inspect(f->config, &f->list, 60000, &f->err), &f->err);
        assert_int_equal(f->list.item[0].found, 3);
        assert_int_equal(f->list.item[1].found, 0);
    }
}

static void makes_what_is_missing_and_takes_the_dev_brokers_counts(void **state)
{
    fixture_t *f = *state;
    int created = -1;
    sb_test_mock_topic(&f->mock, "order.events", 3);
    assert_ok(sb_topic_list_add(&f->list, "order.events", 1, &f->err), &f->err);
    assert_ok(sb_topic_list_add(&f->list, "saga.events", 1, &f->err), &f->err);
    assert_ok(sb_topics_apply(f->config, &f->list, 60000, &created, &f->err), &f->err);
    assert_int_equal(created, 1);
    assert_int_equal(f->list.item[0].found, 3);
    assert_true(f->list.item[1].found > 0);
    assert_ok(sb_topics_apply(f->config, &f->list, 60000, &created, &f->err), &f->err);
    assert_int_equal(created, 0);
}

static void says_that_the_broker_is_not_there(void **state)
{
    fixture_t *f = *state;
    int created = 0;
    assert_ok(sb_topic_list_add(&f->list, "order.events", 1, &f->err), &f->err);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    sb_code_t code = sb_topics_apply(f->config, &f->list, 500, &created, &f->err);
    assert_true(code == SB_UNAVAILABLE || code == SB_TIMEOUT);
    assert_true(f->err.retryable);
    assert_contains(f->err.message, f->mock.bootstrap); /* which one that is */
}

/* No connection is up after three seconds, and no answer comes within three. */
static void waits_for_a_slow_broker_as_long_as_it_is_told(void **state)
{
    fixture_t *f = *state;
    sb_test_mock_topic(&f->mock, "order.events", 3);
    assert_ok(sb_topic_list_add(&f->list, "order.events", 1, &f->err), &f->err);
    (void)rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 3300);
    assert_ok(sb_topics_inspect(f->config, &f->list, 60000, &f->err), &f->err);
    assert_int_equal(f->list.item[0].found, 3);
}

/* The words of Kafka 4, which has one code for both. */
static void a_refusal_that_passes_is_known_by_its_words(void **state)
{
    (void)state;
    static const char fenced[] = "Unable to replicate the partition 1 time(s): All brokers are currently "
                                 "fenced, or have all their log "
                                 "directories cordoned.";
    static const char few[] =
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 "
        "cannot be reached because only 1 broker(s) are registered.";
    assert_true(sb_kafka_is_fenced(RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, fenced));
    assert_false(sb_kafka_is_fenced(RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, few));
    assert_false(sb_kafka_is_fenced(RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR, NULL));
    assert_false(sb_kafka_is_fenced(RD_KAFKA_RESP_ERR_POLICY_VIOLATION, fenced));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sees_what_is_there_and_makes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_what_is_missing_and_takes_the_dev_brokers_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(says_that_the_broker_is_not_there, setup, teardown),
        cmocka_unit_test(a_refusal_that_passes_is_known_by_its_words),
        cmocka_unit_test_setup_teardown(waits_for_a_slow_broker_as_long_as_it_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
