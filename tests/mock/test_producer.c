/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/signal.h"
#include "bus/producer.h"
#include "bus/topic.h"
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAILED_MAX 64

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_producer_t *producer;
    sb_test_messages_t got;
    sb_error_t err;
    uint64_t failed[FAILED_MAX];
    int failed_count;
    sb_error_t failure;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    sb_test_mock_open(&fixture.mock, 1);
    sb_test_mock_topic(&fixture.mock, "t", 1);
    sb_test_mock_topic(&fixture.mock, "t4", 4);
    fixture.config = sb_test_bus_config(fixture.mock.bootstrap, NULL);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_producer_close(&f->producer);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static void on_failed(void *context, uint64_t tag, const sb_error_t *err)
{
    fixture_t *f = context;
    if (f->failed_count < FAILED_MAX)
        f->failed[f->failed_count] = tag;
    f->failed_count++;
    f->failure = *err;
}

static void open_producer(fixture_t *f)
{
    assert_ok(sb_producer_open(&f->producer, f->config, "test", on_failed, f, &f->err), &f->err);
}

static sb_code_t send_text(fixture_t *f, const char *topic, int32_t partition, const char *text, uint64_t tag)
{
    const sb_header_t header = {"ce_type", SB_SLICE("test.sent")};
    sb_record_t record = {.topic = topic,
                          .partition = partition,
                          .key = sb_slice(text),
                          .value = sb_slice(text),
                          .headers = &header,
                          .header_count = 1,
                          .tag = tag};
    return sb_producer_send(f->producer, &record, &f->err);
}

static void read_partition(fixture_t *f, const char *topic, int32_t partition, size_t count)
{
    sb_reader_t *reader = NULL;
    assert_ok(sb_reader_open(&reader, f->config, "test", &f->err), &f->err);
    assert_ok(sb_reader_assign(reader, topic, partition, -1, "", &f->err), &f->err);
    sb_test_read(reader, &f->got, count, 10000);
    sb_reader_close(&reader);
}

static void sends_a_key_where_the_java_client_would(void **state)
{
    fixture_t *f = *state;
    const char *const keys[] = {"o-1", "o-2", "o-3", "o-4", "o-5", "o-6"};
    open_producer(f);
    for (size_t i = 0; i < 6; i++)
        assert_ok(send_text(f, "t4", -1, keys[i], 0), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    for (size_t i = 0; i < 6; i++) {
        int32_t partition = sb_topic_partition(sb_slice(keys[i]), 4);
        sb_test_messages_clear(&f->got);
        read_partition(f, "t4", partition, 1);
        bool found = false;
        for (size_t m = 0; m < f->got.count; m++)
            found = found || strcmp(f->got.item[m].key, keys[i]) == 0;
        assert_true(found);
        assert_string_equal(f->got.item[0].type, "test.sent");
    }
}

static void keeps_order_when_the_broker_is_not_the_leader_for_a_while(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_one_at_a_time(f->config);
    rd_kafka_mock_push_request_errors(
        f->mock.cluster, SB_TEST_PRODUCE, 3, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    open_producer(f);
    for (int i = 0; i < 200; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        assert_ok(send_text(f, "t", 0, text, (uint64_t)i), &f->err);
    }
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(f->failed_count, 0);
    read_partition(f, "t", 0, 200);
    /* The mock does not drop the repeats of an idempotent producer, so repeats are allowed, gaps are not. */
    int next = 0;
    for (size_t m = 0; m < f->got.count; m++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", next);
        next += strcmp(f->got.item[m].value, text) == 0;
    }
    assert_int_equal(next, 200);
}

static void says_busy_when_its_queue_is_full(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.queue.buffering.max.messages", "10");
    open_producer(f);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    sb_code_t code = SB_OK;
    int sent = 0;
    while (sent < 20 && (code = send_text(f, "t", 0, "x", 0)) == SB_OK)
        sent++;
    assert_code(SB_BUSY, code, &f->err);
    assert_int_equal(sent, 10);
    assert_true(f->err.retryable);
    assert_string_equal(f->err.origin, "kafka:-184");

    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_ok(send_text(f, "t", 0, "y", 0), &f->err);
}

static void hands_back_the_tags_of_what_failed(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.message.timeout.ms", "500");
    open_producer(f);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    assert_ok(send_text(f, "t", 0, "x", 7), &f->err);
    assert_ok(send_text(f, "t", 0, "y", INT64_MAX), &f->err);
    for (int i = 0; i < 600 && f->failed_count < 2; i++)
        sb_producer_poll(f->producer, 100);
    assert_int_equal(f->failed_count, 2);
    assert_int_equal(f->failed[0], 7);
    assert_true(f->failed[1] == INT64_MAX);
    assert_int_equal(f->failure.code, SB_TIMEOUT);
}

static void hands_back_what_waited_for_others_too(void **state)
{
    fixture_t *f = *state;
    open_producer(f);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    for (int i = 0; i < 20; i++) {
        assert_ok(send_text(f, "t", 0, "hit", (uint64_t)i + 1), &f->err);
        sb_producer_poll(f->producer, 0);
    }
    assert_true(sb_producer_is_holding(f->producer));
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    for (int i = 0; i < 600 && (f->failed_count == 0 || sb_producer_is_holding(f->producer)); i++)
        sb_producer_poll(f->producer, 100);
    uint64_t seen = 0;
    for (int i = 0; i < f->failed_count; i++)
        seen |= UINT64_C(1) << f->failed[i];
    assert_in_range(f->failed_count, 16, 20); /* of the first five some may have come through */
    assert_true(seen >> 6 == 0x7fff);         /* tags 6 to 20 waited */
}

/* librdkafka would look for the answer without a pause. */
static void waits_for_the_brokers_without_work(void **state)
{
    fixture_t *f = *state;
    sb_signal_t woken;
    assert_ok(sb_signal_init(&woken, &f->err), &f->err);
    sb_test_bus_set(f->config, "kafka.queue.buffering.max.ms", "500"); /* one request, however slow we are */
    open_producer(f);
    sb_producer_wake(f->producer, woken.fd);
    assert_ok(send_text(f, "t", 0, "first", 0), &f->err); /* what is new to it is asked for now */
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 1000), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int i = 0; i < 10; i++)
        assert_ok(send_text(f, "t", 0, "before", 0), &f->err);
    sb_producer_poll(f->producer, 100);
    for (int i = 0; i < 10; i++)
        assert_ok(send_text(f, "t", 0, "behind", 0), &f->err);
    sb_producer_poll(f->producer, 0);
    assert_true(sb_producer_is_holding(f->producer));
    int64_t before_ms = sb_test_cpu_ms();
    assert_true(sb_signal_wait(&woken, 30000));
    assert_true(sb_test_cpu_ms() - before_ms < 400);
    for (int i = 0; i < 600 && sb_producer_is_holding(f->producer); i++)
        sb_producer_poll(f->producer, 100); /* not all reports may be in */
    assert_false(sb_producer_is_holding(f->producer));
    assert_ok(sb_producer_flush(f->producer, 30000, &f->err), &f->err);
    (void)rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 0);
    read_partition(f, "t", 0, 21);
    for (size_t m = 0; m < f->got.count; m++)
        assert_string_equal(f->got.item[m].value, m == 0 ? "first" : m <= 10 ? "before" : "behind");
    sb_signal_fini(&woken);
}

/* A partition whose leader is away, for minutes maybe, must not keep what others would take. */
static void a_partition_that_takes_nothing_holds_nothing_up(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(rd_kafka_mock_partition_set_leader(f->mock.cluster, "t4", 0, -1), 0);
    open_producer(f);
    for (int i = 0; i < 8; i++)
        assert_ok(send_text(f, "t4", 0, "stuck", 0), &f->err);
    sb_producer_poll(f->producer, 0);
    for (int i = 0; i < 10; i++)
        assert_ok(send_text(f, "t4", 1, "free", 0), &f->err);
    sb_producer_poll(f->producer, 0);
    assert_true(sb_producer_is_holding(f->producer));
    int64_t until = sb_test_mono_ms() + 60000;
    while (sb_producer_is_holding(f->producer) && sb_test_mono_ms() < until)
        sb_producer_poll(f->producer, 50);
    assert_false(sb_producer_is_holding(f->producer));
    read_partition(f, "t4", 1, 10);
    for (int i = 0; i < 20; i++) { /* known by now: others do not wait for it again */
        assert_ok(send_text(f, "t4", 2, "free", 0), &f->err);
        sb_producer_poll(f->producer, 0);
        assert_false(sb_producer_is_holding(f->producer));
    }
    assert_int_equal(rd_kafka_mock_partition_set_leader(f->mock.cluster, "t4", 0, 1), 0);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(f->failed_count, 0);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    for (int i = 0; i < 8; i++) { /* and once it came back, what comes behind others waits as before */
        assert_ok(send_text(f, "t4", 3, "late", 0), &f->err);
        sb_producer_poll(f->producer, 0);
    }
    assert_true(sb_producer_is_holding(f->producer));
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    sb_test_messages_clear(&f->got);
    read_partition(f, "t4", 0, 8);
}

static void knows_what_of_before_a_cut_is_out(void **state)
{
    fixture_t *f = *state;
    open_producer(f);
    assert_true(sb_producer_cut(f->producer));
    assert_int_equal(sb_producer_before_cut(f->producer), 0);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    for (int i = 0; i < 12; i++) {
        assert_ok(send_text(f, "t", 0, "before", 1), &f->err);
        sb_producer_poll(f->producer, 0);
    }
    assert_true(sb_producer_cut(f->producer));
    assert_int_equal(sb_producer_before_cut(f->producer), 12);
    assert_ok(send_text(f, "t4", 1, "after", 1), &f->err);
    assert_false(sb_producer_cut(f->producer));
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    for (int i = 0; i < 600 && sb_producer_before_cut(f->producer) > 0; i++)
        sb_producer_poll(f->producer, 100);
    assert_int_equal(sb_producer_before_cut(f->producer), 0);
    assert_ok(sb_producer_flush(f->producer, 30000, &f->err), &f->err);
    assert_true(sb_producer_cut(f->producer));
    assert_int_equal(sb_producer_before_cut(f->producer), 0);
    assert_int_equal(f->failed_count, 0);
}

static void goes_on_with_a_new_handle_after_a_fatal_error(void **state)
{
    fixture_t *f = *state;
    open_producer(f);
    assert_ok(send_text(f, "t", 0, "before", 1), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_ok(send_text(f, "t", 0, "hit", 2), &f->err);
    for (int i = 0; i < 600 && f->failed_count == 0; i++)
        sb_producer_poll(f->producer, 100);
    assert_int_equal(f->failed_count, 1);
    assert_int_equal(f->failed[0], 2);
    sb_producer_poll(f->producer, 0);
    assert_ok(send_text(f, "t", 0, "after", 3), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(f->failed_count, 1);
    read_partition(f, "t", 0, 2);
    assert_string_equal(f->got.item[f->got.count - 1].value, "after");
}

static void reports_nothing_and_hangs_nowhere_when_closed_with_a_full_queue(void **state)
{
    fixture_t *f = *state;
    open_producer(f);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    for (int i = 0; i < 100; i++)
        assert_ok(send_text(f, "t", 0, "x", 1), &f->err);
    int64_t before = sb_test_mono_ms();
    sb_producer_close(&f->producer);
    assert_true(sb_test_mono_ms() - before < 30000);
    assert_int_equal(f->failed_count, 0);
}

static void refuses_settings_that_break_a_guarantee(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *name;
        const char *value;
    } bad[] = {{"kafka.acks", "1"},
               {"kafka.enable.idempotence", "false"},
               {"kafka.partitioner", "consistent"},
               {"kafka.transactional.id", "x"},
               {"kafka.bootstrap.servers", "elsewhere:9092"},
               {"kafka.enable.auto.commit", "true"},
               {"kafka.no.such.setting", "1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sb_config_t *config = sb_test_bus_config(f->mock.bootstrap, NULL);
        sb_test_bus_set(config, bad[i].name, bad[i].value);
        assert_code(SB_INVALID, sb_producer_open(&f->producer, config, NULL, NULL, NULL, &f->err), &f->err);
        assert_null(f->producer);
        assert_contains(f->err.message, bad[i].name);
        sb_config_free(&config);
    }
    sb_test_bus_set(f->config, "kafka.acks", "-1");
    sb_test_bus_set(f->config, "kafka.compression.codec", "lz4");
    open_producer(f);
}

/* librdkafka takes it for delivered because the one behind it was acknowledged; the mock has only that one.
 */
static void a_record_that_was_not_acknowledged_itself_has_failed(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.batch.num.messages", "1");
    open_producer(f);
    assert_ok(send_text(f, "t", 0, "first", 1), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 300), 0);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    assert_ok(send_text(f, "t", 0, "nowhere", 2), &f->err);
    assert_ok(send_text(f, "t", 0, "third", 3), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(f->failed_count, 1);
    assert_int_equal(f->failed[0], 2);
    assert_int_equal(f->failure.code, SB_TIMEOUT);
    read_partition(f, "t", 0, 2);
    assert_string_equal(f->got.item[1].value, "third");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_a_key_where_the_java_client_would, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_order_when_the_broker_is_not_the_leader_for_a_while, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(says_busy_when_its_queue_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(hands_back_the_tags_of_what_failed, setup, teardown),
        cmocka_unit_test_setup_teardown(hands_back_what_waited_for_others_too, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_the_brokers_without_work, setup, teardown),
        cmocka_unit_test_setup_teardown(a_partition_that_takes_nothing_holds_nothing_up, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_what_of_before_a_cut_is_out, setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_with_a_new_handle_after_a_fatal_error, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_nothing_and_hangs_nowhere_when_closed_with_a_full_queue,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_settings_that_break_a_guarantee, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_was_not_acknowledged_itself_has_failed, setup,
                                        teardown),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
