/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_reader_t *reader;
    sb_test_messages_t got;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    sb_test_mock_open(&fixture.mock, 1);
    sb_test_mock_topic(&fixture.mock, "replies", 2);
    fixture.config = sb_test_bus_config(fixture.mock.bootstrap, NULL);
    assert_ok(sb_reader_open(&fixture.reader, fixture.config, "test", &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_reader_close(&f->reader);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static void assign(fixture_t *f, int32_t partition, int64_t offset, const char *cluster_id)
{
    assert_ok(sb_reader_assign(f->reader, "replies", partition, offset, cluster_id, &f->err), &f->err);
}

/* After a poll that does not wait, as the orchestrator's. */
static bool is_connected(fixture_t *f)
{
    int n = 0;
    bool reset = false;
    assert_ok(sb_reader_poll(f->reader, 1, 0, sb_test_collect, &f->got, &n, &reset, &f->err), &f->err);
    return sb_reader_connected(f->reader);
}

/* The cluster's id, as the brokers say it. */
static const char *cluster_id(fixture_t *f)
{
    assert_soon(is_connected(f), 10000);
    assert_contains(sb_reader_cluster_id(f->reader), "mockCluster");
    return sb_reader_cluster_id(f->reader);
}

/* Behind a fetch that waits for messages, or on a busy machine, an answer takes its time. */
static void hears_brokers_that_answer_slowly(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 3);
    (void)rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 400);
    assign(f, 0, 0, "");
    assert_soon(is_connected(f), 20000);
    sb_test_read(f->reader, &f->got, 3, 20000);
}

static int64_t ends_within(rd_kafka_t *handle, int timeout_ms, rd_kafka_resp_err_t *error)
{
    int64_t low = -1, high = -1;
    int64_t before = sb_test_mono_ms();
    *error = sb_kafka_ends(handle, "replies", 0, timeout_ms, &low, &high);
    if (*error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        assert_int_equal(low, 0);
        assert_int_equal(high, 3);
    }
    return sb_test_mono_ms() - before;
}

/* The question for the watermarks would wait for brokers that answer late, however long that takes. */
static void the_ends_of_a_partition_are_asked_for_within_a_time(void **state)
{
    fixture_t *f = *state;
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *handle = NULL;
    rd_kafka_resp_err_t error;
    sb_test_produce(f->config, "replies", 0, 0, 3);
    assert_ok(sb_kafka_conf(&conf, f->config, SB_KAFKA_READER, "test", &f->err), &f->err);
    assert_ok(sb_kafka_open(&handle, RD_KAFKA_CONSUMER, conf, &f->err), &f->err);
    (void)ends_within(handle, 30000, &error);
    assert_int_equal(error, RD_KAFKA_RESP_ERR_NO_ERROR);
    (void)rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 20000);
    assert_true(ends_within(handle, 300, &error) < 15000);
    assert_int_equal(error, RD_KAFKA_RESP_ERR__TIMED_OUT);
    (void)rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 0);
    rd_kafka_destroy(handle);
}

static void begins_a_new_partition_at_its_beginning_without_a_reset(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 10);
    assign(f, 0, 0, "");
    sb_test_read(f->reader, &f->got, 10, 10000);
    assert_int_equal(f->got.item[0].offset, 0);
    assert_string_equal(f->got.item[9].value, "9");
    assert_false(f->got.reset);
}

static void goes_on_at_the_stored_offset_of_each_partition(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 10);
    sb_test_produce(f->config, "replies", 1, 100, 10);
    const char *id = cluster_id(f);
    assign(f, 0, 7, id);
    assign(f, 1, 9, id);
    sb_test_read(f->reader, &f->got, 4, 10000);
    assert_false(f->got.reset);
    for (size_t i = 0; i < 4; i++)
        assert_true(f->got.item[i].offset >= (f->got.item[i].partition == 0 ? 7 : 9));
}

/* librdkafka before 2.2 looks again after a second when it found its queue full. */
static void reads_a_backlog_through_a_short_queue_at_once(void **state)
{
    fixture_t *f = *state;
    sb_reader_close(&f->reader);
    sb_test_bus_set(f->config, "kafka.queued.min.messages", "8");
    assert_ok(sb_reader_open(&f->reader, f->config, "test", &f->err), &f->err);
    for (int i = 0; i < 90; i++) /* the mock's fetch brings one batch */
        sb_test_produce(f->config, "replies", 0, 10 * i, 10);
    assign(f, 0, 0, "");
    sb_test_read(f->reader, &f->got, 900, 10000); /* within a minute; a second a batch otherwise */
    assert_false(f->got.reset);
}

static void raises_its_signal_until_all_is_taken(void **state)
{
    fixture_t *f = *state;
    assign(f, 0, 0, "");
    (void)cluster_id(f);
    sb_test_produce(f->config, "replies", 0, 0, 10);
    struct pollfd fd = {.fd = sb_reader_signal(f->reader)->fd, .events = POLLIN};
    int64_t until = sb_test_mono_ms() + 60000;
    while (f->got.count < 10 && sb_test_mono_ms() < until) {
        int n = 0;
        bool reset = false;
        assert_int_equal(poll(&fd, 1, 60000), 1);
        assert_ok(sb_reader_poll(f->reader, 3, 0, sb_test_collect, &f->got, &n, &reset, &f->err), &f->err);
        assert_true(n <= 3);
    }
    assert_int_equal(f->got.count, 10);
}

static void brings_a_refused_message_again(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 10);
    assign(f, 0, 0, "");
    f->got.refuse_at = 4;
    int n = 0;
    bool reset = false;
    sb_code_t code = SB_OK;
    for (int i = 0; i < 600 && code == SB_OK; i++)
        code = sb_reader_poll(f->reader, 100, 100, sb_test_collect, &f->got, &n, &reset, &f->err);
    assert_code(SB_UNAVAILABLE, code, &f->err);
    assert_int_equal(n, 4);
    sb_test_read(f->reader, &f->got, 10, 10000);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(f->got.item[i].offset, i);
}

static void begins_again_when_the_cluster_is_another(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 10);
    assign(f, 0, 8, "some-other-cluster");
    sb_test_read(f->reader, &f->got, 10, 10000);
    assert_true(f->got.reset);
    assert_int_equal(f->got.item[0].offset, 0);
}

static void begins_again_when_the_offset_is_not_in_the_topic(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, "replies", 0, 0, 10);
    sb_test_produce(f->config, "replies", 1, 0, 10);
    const char *id = cluster_id(f);
    assign(f, 0, 5000, id);
    assign(f, 1, 9, id);
    sb_test_read(f->reader, &f->got, 11, 10000);
    assert_true(f->got.reset);
    size_t first = f->got.item[0].partition == 0 ? 0 : 1;
    assert_int_equal(f->got.item[first].offset, 0);
}

static void waits_for_a_topic_that_is_not_there_yet(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_reader_assign(f->reader, "later", 0, 0, "", &f->err), &f->err);
    (void)cluster_id(f);
    sb_test_produce(f->config, "later", 0, 0, 3);
    sb_test_read(f->reader, &f->got, 3, 20000);
    assert_false(f->got.reset);
}

static void reads_on_after_the_broker_was_away(void **state)
{
    fixture_t *f = *state;
    assign(f, 0, 0, "");
    sb_test_produce(f->config, "replies", 0, 0, 5);
    sb_test_read(f->reader, &f->got, 5, 10000);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    int n = 0;
    bool reset = false;
    for (int i = 0; i < 10; i++)
        assert_ok(sb_reader_poll(f->reader, 10, 100, sb_test_collect, &f->got, &n, &reset, &f->err), &f->err);
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    sb_test_produce(f->config, "replies", 0, 5, 5);
    sb_test_read(f->reader, &f->got, 10, 20000);
    assert_int_equal(f->got.item[9].offset, 9);
    assert_false(f->got.reset);
}

static void lets_go_of_a_partition(void **state)
{
    fixture_t *f = *state;
    assign(f, 0, 0, "");
    assign(f, 1, 0, "");
    (void)cluster_id(f);
    sb_reader_unassign(f->reader, "replies", 0);
    sb_test_produce(f->config, "replies", 0, 0, 3);
    sb_test_produce(f->config, "replies", 1, 0, 3);
    sb_test_read(f->reader, &f->got, 3, 10000);
    for (size_t i = 0; i < f->got.count; i++)
        assert_int_equal(f->got.item[i].partition, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hears_brokers_that_answer_slowly, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ends_of_a_partition_are_asked_for_within_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(begins_a_new_partition_at_its_beginning_without_a_reset, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(goes_on_at_the_stored_offset_of_each_partition, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_a_backlog_through_a_short_queue_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(raises_its_signal_until_all_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(brings_a_refused_message_again, setup, teardown),
        cmocka_unit_test_setup_teardown(begins_again_when_the_cluster_is_another, setup, teardown),
        cmocka_unit_test_setup_teardown(begins_again_when_the_offset_is_not_in_the_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_a_topic_that_is_not_there_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_on_after_the_broker_was_away, setup, teardown),
        cmocka_unit_test_setup_teardown(lets_go_of_a_partition, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
