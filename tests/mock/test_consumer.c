/* Each join of a group takes the mock three seconds, so few cases with much in each.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <string.h>

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_consumer_t *consumer;
    sb_test_messages_t got;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    sb_test_mock_open(&fixture.mock, 1);
    sb_test_mock_topic(&fixture.mock, "cmd.payment", 2);
    fixture.config = sb_test_bus_config(fixture.mock.bootstrap, NULL);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_consumer_close(&f->consumer, 5000);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static void open_consumer(fixture_t *f)
{
    const char *const topics[] = {"cmd.payment"};
    assert_ok(sb_consumer_open(&f->consumer, f->config, "payment", topics, 1, &f->err), &f->err);
}

static void hands_over_again_what_was_not_committed_and_nothing_else(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "cmd.payment", 0, 0, 10);
    sb_test_produce(f->config, "cmd.payment", 1, 100, 10);
    open_consumer(f);
    sb_test_consume(f->consumer, &f->got, 20, 30000);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);

    /* A failed transaction: the same messages again, in the same order. */
    sb_test_messages_clear(&f->got);
    sb_test_produce(f->config, "cmd.payment", 0, 10, 5);
    sb_test_consume(f->consumer, &f->got, 5, 10000);
    assert_ok(sb_consumer_rewind(f->consumer, &f->err), &f->err);
    sb_test_consume(f->consumer, &f->got, 10, 10000);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(f->got.item[5 + i].offset, f->got.item[i].offset);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);

    /* Not committed, and closed: the next member gets it, and only it. */
    sb_test_messages_clear(&f->got);
    sb_test_produce(f->config, "cmd.payment", 0, 15, 3);
    sb_test_consume(f->consumer, &f->got, 3, 10000);
    sb_consumer_close(&f->consumer, 5000);
    sb_test_messages_clear(&f->got);
    open_consumer(f);
    sb_test_consume(f->consumer, &f->got, 3, 30000);
    assert_int_equal(f->got.count, 3);
    assert_string_equal(f->got.item[0].value, "15");
}

static void brings_a_refused_message_again(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "cmd.payment", 0, 0, 6);
    open_consumer(f);
    f->got.refuse_at = 3;
    int n = 0;
    sb_code_t code = SB_OK;
    for (int i = 0; i < 1200 && code == SB_OK; i++)
        code = sb_consumer_poll(f->consumer, 100, 100, sb_test_collect, &f->got, &n, &f->err);
    assert_code(SB_UNAVAILABLE, code, &f->err);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
    sb_test_consume(f->consumer, &f->got, 6, 10000);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(f->got.item[i].offset, i);

    /* A rewind takes it back too. */
    sb_test_messages_clear(&f->got);
    assert_ok(sb_consumer_rewind(f->consumer, &f->err), &f->err);
    sb_test_consume(f->consumer, &f->got, 3, 10000);
    assert_int_equal(f->got.item[0].offset, 3);
}

static void a_coordinator_that_does_not_tell_the_offset_is_asked_again(void **state)
{
    enum { OFFSET_FETCH = 9 };
    fixture_t *f = *state;
    sb_test_produce(f->config, "cmd.payment", 0, 0, 3);
    (void)rd_kafka_mock_push_request_errors(f->mock.cluster, OFFSET_FETCH, 2,
                                            RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                            RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
    open_consumer(f);
    sb_test_consume(f->consumer, &f->got, 3, 30000);
    assert_string_equal(f->got.item[0].value, "0");
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
}

static void closes_in_time_when_the_broker_is_gone(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "cmd.payment", 0, 0, 1);
    open_consumer(f);
    sb_test_consume(f->consumer, &f->got, 1, 30000);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    int64_t before = sb_test_mono_ms();
    sb_consumer_close(&f->consumer, 1000);
    assert_true(sb_test_mono_ms() - before < 30000);
    assert_null(f->consumer);
}

static void closes_before_its_first_assignment(void **state)
{
    fixture_t *f = *state;
    int n = 0;
    open_consumer(f);
    sb_consumer_close(&f->consumer, 5000); /* before it joined */
    open_consumer(f);
    for (int i = 0; i < 5; i++) /* while it joins: the mock lets it wait */
        assert_ok(sb_consumer_poll(f->consumer, 10, 100, sb_test_collect, &f->got, &n, &f->err), &f->err);
    sb_consumer_close(&f->consumer, 10000);
    assert_null(f->consumer);
}

/* As a participant does, which commits not after each batch but now and then. False: it was too late, and
 * what was not committed may come again. */
static bool poll_and_commit_before_a_rebalance(fixture_t *f)
{
    int n = 0;
    assert_ok(sb_consumer_poll(f->consumer, 10, 50, sb_test_collect, &f->got, &n, &f->err), &f->err);
    sb_code_t code =
        sb_consumer_has_rebalance(f->consumer) ? sb_consumer_commit(f->consumer, &f->err) : SB_OK;
    if (code != SB_UNAVAILABLE)
        assert_ok(code, &f->err);
    return code == SB_OK;
}

static void two_members_share_and_repeat_nothing_committed(void **state)
{
    fixture_t *f = *state;
    sb_consumer_t *second = NULL;
    sb_test_messages_t others = {.item = NULL};
    const char *const topics[] = {"cmd.payment"};
    int n = 0;
    bool in_time = true;
    sb_test_produce(f->config, "cmd.payment", 0, 0, 3);
    sb_test_produce(f->config, "cmd.payment", 1, 0, 3);
    open_consumer(f);
    sb_test_consume(f->consumer, &f->got, 6, 30000);

    assert_ok(sb_consumer_open(&second, f->config, "payment", topics, 1, &f->err), &f->err);
    for (int i = 0; i < 1200 && others.count == 0; i++) {
        in_time = poll_and_commit_before_a_rebalance(f) && in_time;
        if (i % 100 == 99) /* until the group is whole again, the first one has it */
            sb_test_produce(f->config, "cmd.payment", 0, 10, 1),
                sb_test_produce(f->config, "cmd.payment", 1, 10, 1);
        assert_ok(sb_consumer_poll(second, 10, 50, sb_test_collect, &others, &n, &f->err), &f->err);
    }
    assert_true(others.count > 0);
    for (size_t i = 0; i < others.count; i++)
        assert_true(!in_time || others.item[i].offset >= 3);
    sb_consumer_close(&second, 5000);
    sb_test_messages_free(&others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hands_over_again_what_was_not_committed_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(brings_a_refused_message_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_coordinator_that_does_not_tell_the_offset_is_asked_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(closes_in_time_when_the_broker_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(closes_before_its_first_assignment, setup, teardown),
        cmocka_unit_test_setup_teardown(two_members_share_and_repeat_nothing_committed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
