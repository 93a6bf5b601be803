/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signal.h"
#include "bus/kafka.h"
#include "bus/relay/relay_out.h"
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#define EVENTS    100
#define ASLEEP_MS 300

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_relay_marks_t marks;
    sb_signal_t signal;
    sb_relay_out_t *out;
    sb_test_messages_t got;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    fixture_t *f = &fixture;
    sb_error_t err = SB_ERROR_INIT;
    sb_test_mock_open(&f->mock, 1);
    sb_test_mock_topic(&f->mock, "order.events", 1);
    f->config = sb_test_bus_config(f->mock.bootstrap, NULL);
    sb_test_bus_one_at_a_time(f->config);
    sb_test_bus_set(f->config, "kafka.batch.num.messages", "10");
    assert_ok(sb_signal_init(&f->signal, &err), &err);
    assert_ok(sb_relay_out_open(&f->out, f->config, &f->marks, &f->signal, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_relay_out_close(&f->out);
    sb_relay_marks_fini(&f->marks);
    sb_signal_fini(&f->signal);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static sb_code_t send_events(fixture_t *f, int64_t from, int64_t to)
{
    sb_code_t code = SB_OK;
    for (int64_t seq = from; seq <= to && code == SB_OK; seq++) {
        sb_event_t event = {.id = {{1, (unsigned char)seq}},
                            .type = SB_SLICE("order.created"),
                            .subject = SB_SLICE("o-1"),
                            .time_us = 1,
                            .data = SB_SLICE("{}"),
                            .seq = seq};
        code = sb_relay_out_send(f->out, &event, 1, 1, NULL);
    }
    return code;
}

/* Until nothing is under way, or a report says that something failed. */
static sb_code_t serve(fixture_t *f)
{
    sb_code_t code = SB_OK;
    int64_t until = sb_test_mono_ms() + 60000;
    while (code == SB_OK && sb_relay_out_oldest(f->out) > 0) {
        assert_true(sb_test_mono_ms() < until);
        code = sb_relay_out_serve(f->out, 100, NULL);
    }
    return code;
}

/* librdkafka by itself goes on behind an event that it gave up on. Until the relay, which may be asleep or
 * busy with the store, takes the rest back, consumers would see later events first. */
static void nothing_goes_out_behind_an_event_that_was_refused(void **state)
{
    static const rd_kafka_resp_err_t errors[] = {
        RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED};
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_reader_t *reader = NULL;
    int64_t last = 1;
    assert_int_equal(send_events(f, 1, last), SB_OK);
    assert_int_equal(serve(f), SB_OK);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1, errors[i]);
        (void)send_events(f, last + 1, last + EVENTS); /* the refusal may be quicker */
        sb_test_sleep_ms(ASLEEP_MS);
        assert_int_equal(serve(f), sb_kafka_code(errors[i])); /* told as what it is */
        int64_t from = sb_relay_out_restart(f->out);
        assert_int_equal(from, last + 1);
        for (; from <= last + EVENTS; from++) { /* what was too large goes alone now */
            assert_int_equal(send_events(f, from, from), SB_OK);
            assert_int_equal(serve(f), SB_OK);
        }
        last += EVENTS;
    }
    assert_ok(sb_reader_open(&reader, f->config, "check", &err), &err);
    assert_ok(sb_reader_assign(reader, "order.events", 0, -1, "", &err), &err);
    sb_test_read(reader, &f->got, (size_t)last, 10000);
    sb_reader_close(&reader);
    sb_test_check_chain(&f->got, 0);
}

/* Two are under way; the first one's fate is unknown and it waits for its repeat as the second is
 * acknowledged. librdkafka takes the first for delivered, then: a broker would have refused the second, it
 * holds, but one that does not know the producer does not. The mock never does. */
static void what_is_only_said_to_be_there_by_the_one_behind_it_is_sent_again(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_reader_t *reader = NULL;
    sb_test_bus_set(f->config, "kafka.max.in.flight.requests.per.connection", "5");
    sb_test_bus_set(f->config, "kafka.batch.num.messages", "1");
    assert_int_equal(send_events(f, 1, 1), SB_OK);
    assert_int_equal(serve(f), SB_OK);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, ASLEEP_MS), 0);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    assert_int_equal(send_events(f, 2, 3), SB_OK);
    assert_int_equal(serve(f), SB_TIMEOUT);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 0), 0);
    assert_int_equal(sb_relay_out_restart(f->out), 2);
    for (int64_t seq = 2; seq <= 3; seq++) {
        assert_int_equal(send_events(f, seq, seq), SB_OK);
        assert_int_equal(serve(f), SB_OK);
    }
    assert_ok(sb_reader_open(&reader, f->config, "check", &err), &err);
    assert_ok(sb_reader_assign(reader, "order.events", 0, -1, "", &err), &err);
    sb_test_read(reader, &f->got, 4, 10000);
    sb_reader_close(&reader);
    assert_string_equal(f->got.item[1].position, "1.1.3.2"); /* and the one before it was nowhere */
    assert_string_equal(f->got.item[2].position, "1.1.2.1");
}

/* Until the brokers know the producer there, they would take what comes behind it first. Not for long,
 * though: others wait behind it. */
static void the_first_event_of_a_partition_goes_alone(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, ASLEEP_MS), 0);
    for (int64_t seq = 1; seq <= 101; seq += 100) { /* each producer is a new one to the brokers */
        assert_int_equal(send_events(f, seq, seq), SB_OK);
        assert_int_equal(send_events(f, seq + 1, seq + 1), SB_BUSY);
        assert_int_equal(serve(f), SB_OK);
        assert_int_equal(send_events(f, seq + 1, seq + 99), SB_OK);
        assert_int_equal(serve(f), SB_OK);
        assert_int_equal(sb_relay_out_restart(f->out), 0);
    }
    assert_int_equal(send_events(f, 201, 201), SB_OK);
    assert_int_equal(rd_kafka_mock_partition_set_leader(f->mock.cluster, "order.events", 0, -1), 0);
    assert_int_equal(send_events(f, 202, 202), SB_BUSY);
    assert_soon(send_events(f, 202, 202) == SB_OK, 10000);
    assert_int_equal(rd_kafka_mock_partition_set_leader(f->mock.cluster, "order.events", 0, 1), 0);
    assert_int_equal(serve(f), SB_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_goes_out_behind_an_event_that_was_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_only_said_to_be_there_by_the_one_behind_it_is_sent_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_event_of_a_partition_goes_alone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
