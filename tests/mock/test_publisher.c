/* The public publisher against librdkafka's mock cluster: what goes out, what is refused, what comes back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "bus/message.h"
#include "bus/publisher.h"
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <string.h>

#define REPORTS_MAX 256

typedef struct fixture {
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_publisher_t *publisher;
    sb_error_t err;
    int reports;
    uint64_t tag[REPORTS_MAX];
    sb_code_t code[REPORTS_MAX];
    sb_published_t last;
    char why[512];
    sb_buf_t kept; /* headers of the record read last, as "name=value\n" */
    char value[1024];
    char key[64];
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    sb_test_mock_open(&fixture.mock, 1);
    sb_test_mock_topic(&fixture.mock, "p.click.direct", 4);
    sb_test_mock_topic(&fixture.mock, "p.own", 1);
    fixture.config = sb_test_bus_config(fixture.mock.bootstrap, "p.");
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_publisher_close(&f->publisher);
    sb_buf_fini(&f->kept);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    return 0;
}

static void on_published(void *context, const sb_published_t *published)
{
    fixture_t *f = context;
    assert_true(f->reports < REPORTS_MAX);
    f->tag[f->reports] = published->tag;
    f->code[f->reports++] = published->err ? published->err->code : SB_OK;
    f->last = *published;
    (void)snprintf(f->why, sizeof f->why, "%s", published->err ? published->err->message : "");
}

static void open_publisher(fixture_t *f, bool structured)
{
    sb_publisher_config_t config = {
        .source = "/clicks", .structured = structured, .on_published = on_published, .context = f};
    assert_ok(sb_publisher_new(&f->publisher, f->config, &config, &f->err), &f->err);
}

static sb_event_t click(void)
{
    return (sb_event_t){.type = SB_SLICE("click.seen"),
                        .subject = SB_SLICE("u-1"),
                        .correlation_id = SB_SLICE("c-1"),
                        .traceparent = SB_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                        .data = SB_SLICE("{\"page\":\"/\"}")};
}

static sb_code_t keep_record(void *context, const sb_message_t *message, sb_error_t *err)
{
    fixture_t *f = context;
    (void)err;
    sb_buf_reset(&f->kept);
    for (size_t i = 0; i < message->header_count; i++)
        sb_buf_printf(&f->kept, "%s=%.*s\n", message->headers[i].name,
                      SB_SLICE_ARG(message->headers[i].value));
    (void)snprintf(f->value, sizeof f->value, "%.*s", SB_SLICE_ARG(message->value));
    (void)snprintf(f->key, sizeof f->key, "%.*s", SB_SLICE_ARG(message->key));
    return SB_OK;
}

static void read_one(fixture_t *f, const char *topic, int32_t partition)
{
    sb_reader_t *reader = NULL;
    int count = 0;
    bool reset = false;
    assert_ok(sb_reader_open(&reader, f->config, "test", &f->err), &f->err);
    assert_ok(sb_reader_assign(reader, topic, partition, -1, "", &f->err), &f->err);
    for (int i = 0; i < 600 && count == 0; i++)
        assert_ok(sb_reader_poll(reader, 1, 100, keep_record, f, &count, &reset, &f->err), &f->err);
    assert_int_equal(count, 1);
    sb_reader_close(&reader);
}

static void an_event_goes_out_whole_and_is_reported(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = click();
    open_publisher(f, false);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 42, &f->err), &f->err);
    assert_int_equal(sb_publisher_pending(f->publisher), 1);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_int_equal(sb_publisher_pending(f->publisher), 0);
    assert_int_equal(f->reports, 1);
    assert_int_equal(f->tag[0], 42);
    assert_int_equal(f->code[0], SB_OK);
    assert_int_equal(f->last.offset, 0);
    read_one(f, "p.click.direct", f->last.partition);
    assert_string_equal(f->key, "u-1");
    assert_string_equal(f->value, "{\"page\":\"/\"}");
    const char *headers = sb_buf_text(&f->kept);
    assert_contains(headers, "ce_specversion=1.0\n");
    assert_contains(headers, "ce_type=click.seen\n");
    assert_contains(headers, "ce_source=/clicks\n");
    assert_contains(headers, "ce_subject=u-1\n");
    assert_contains(headers, "ce_correlationid=c-1\n");
    assert_contains(headers, "\ntraceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n");
    assert_contains(headers, "content-type=application/json\n");
    assert_contains(headers, "ce_id=");
    assert_contains(headers, "ce_time=20");
    assert_null(strstr(headers, "sb-pos")); /* it has no place in the store */
}

static void structured_mode_and_a_topic_by_name(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = click();
    open_publisher(f, true);
    assert_ok(sb_publisher_send(f->publisher, &event, "own", 1, &f->err), &f->err);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 2, &f->err), &f->err);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    read_one(f, "p.own", 0);
    assert_contains(sb_buf_text(&f->kept), "content-type=application/cloudevents+json; charset=UTF-8\n");
    assert_null(strstr(sb_buf_text(&f->kept), "ce_id"));
    assert_contains(f->value, "\"type\":\"click.seen\"");
    assert_contains(f->value, "\"data\":{\"page\":\"/\"}}");
    assert_true(sb_scan_valid(sb_slice(f->value), NULL));
}

static void what_is_wrong_is_refused_before_it_is_taken(void **state)
{
    fixture_t *f = *state;
    static char large[SB_EVENT_BYTES_MAX + 16];
    open_publisher(f, false);
    sb_event_t event = click();
    event.type = SB_SLICE("click");
    assert_code(SB_INVALID, sb_publisher_send(f->publisher, &event, NULL, 0, &f->err), &f->err);
    assert_string_equal(f->err.pointer, "/type");
    event = click();
    event.data = SB_SLICE("{\"a\":");
    assert_code(SB_INVALID, sb_publisher_send(f->publisher, &event, NULL, 0, &f->err), &f->err);
    assert_string_equal(f->err.pointer, "/data");
    memset(large, '1', sizeof large);
    event.data = (sb_slice_t){large, sizeof large};
    assert_code(SB_TOO_LARGE, sb_publisher_send(f->publisher, &event, NULL, 0, &f->err), &f->err);
    event = click();
    static const char *const taken[] = {"order.events", "cmd.payment", "saga.replies"};
    for (size_t i = 0; i < 3; i++) {
        assert_code(SB_INVALID, sb_publisher_send(f->publisher, &event, taken[i], 0, &f->err), &f->err);
        assert_contains(f->err.message, taken[i]);
        assert_contains(f->err.message, "click.direct");
    }
    assert_code(SB_INVALID, sb_publisher_send(f->publisher, &event, "a/b", 0, &f->err), &f->err);
    assert_int_equal(sb_publisher_pending(f->publisher), 0);
}

static void the_queue_is_bounded_and_close_reports_the_rest(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.queue.buffering.max.messages", "10");
    open_publisher(f, false);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    sb_event_t event = click();
    sb_code_t code = SB_OK;
    uint64_t sent = 0;
    while (sent < 20 && (code = sb_publisher_send(f->publisher, &event, NULL, sent, &f->err)) == SB_OK)
        sent++;
    assert_code(SB_BUSY, code, &f->err);
    assert_true(f->err.retryable);
    assert_int_equal(sent, 10);
    assert_code(SB_TIMEOUT, sb_publisher_flush(f->publisher, 200, &f->err), &f->err);
    assert_contains(f->err.message, "10 events");
    int64_t before = sb_test_mono_ms();
    sb_publisher_close(&f->publisher);
    assert_true(sb_test_mono_ms() - before < 30000);
    assert_int_equal(f->reports, 10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(f->code[i], SB_STOPPED);
}

static void each_event_is_reported_once_over_errors_that_pass(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = click();
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    open_publisher(f, false);
    for (uint64_t i = 0; i < 200; i++)
        assert_ok(sb_publisher_send(f->publisher, &event, NULL, i, &f->err), &f->err);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_int_equal(f->reports, 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(f->code[i], SB_OK);
        assert_int_equal(f->tag[i], i); /* one key, one partition: in order */
    }
}

static void it_goes_on_after_a_fatal_error(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = click();
    open_publisher(f, false);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 1, &f->err), &f->err);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 2, &f->err), &f->err);
    assert_true(sb_publisher_flush(f->publisher, 60000, &f->err) != SB_OK);
    assert_int_equal(f->reports, 2);
    assert_true(f->code[1] != SB_OK);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 3, &f->err), &f->err);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_int_equal(f->reports, 3);
    assert_int_equal(f->code[2], SB_OK);
}

static void without_a_callback_flush_tells_the_first_failure_once(void **state)
{
    fixture_t *f = *state;
    sb_publisher_config_t config = {.source = NULL};
    sb_event_t event = click();
    sb_test_bus_set(f->config, "kafka.message.timeout.ms", "300");
    assert_ok(sb_publisher_new(&f->publisher, f->config, &config, &f->err), &f->err);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    assert_ok(sb_publisher_send(f->publisher, &event, NULL, 0, &f->err), &f->err);
    assert_code(SB_TIMEOUT, sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_contains(f->err.message, "p.click.direct");
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
}

/* librdkafka takes it for delivered because the one behind it was acknowledged; the mock has only that one.
 */
static void an_event_that_was_not_acknowledged_itself_has_failed(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = click();
    sb_test_bus_set(f->config, "kafka.batch.num.messages", "1");
    open_publisher(f, false);
    assert_ok(sb_publisher_send(f->publisher, &event, "own", 1, &f->err), &f->err);
    assert_ok(sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, 1, 300), 0);
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    assert_ok(sb_publisher_send(f->publisher, &event, "own", 2, &f->err), &f->err);
    assert_ok(sb_publisher_send(f->publisher, &event, "own", 3, &f->err), &f->err);
    assert_code(SB_TIMEOUT, sb_publisher_flush(f->publisher, 60000, &f->err), &f->err);
    assert_int_equal(f->reports, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(f->code[i], f->tag[i] == 2 ? SB_TIMEOUT : SB_OK);
    assert_int_equal(f->last.tag, 3);
    assert_int_equal(f->last.offset, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_event_goes_out_whole_and_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(structured_mode_and_a_topic_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_refused_before_it_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(the_queue_is_bounded_and_close_reports_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(each_event_is_reported_once_over_errors_that_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(it_goes_on_after_a_fatal_error, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_that_was_not_acknowledged_itself_has_failed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_a_callback_flush_tells_the_first_failure_once, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
