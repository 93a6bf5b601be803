/* `sagabus subscribe` as a process, on the mock cluster: what comes out for events in binary and structured
 * mode, and the name of its group.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "shop."
#define TOPIC  PREFIX "order.events"

static const char structured[] = "{\"specversion\":\"1.0\",\"id\":\"s-1\",\"source\":\"/shop\",\n"
                                 " \"type\":\"order.created\",\"subject\":\"o-2\",\"data\":{\"n\":2}}";

static void send_one(sb_producer_t *producer, const char *value, const sb_header_t *headers, size_t count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_record_t record = {.topic = TOPIC,
                          .partition = 0,
                          .key = SB_SLICE("o"),
                          .value = sb_slice(value),
                          .headers = headers,
                          .header_count = count};
    assert_ok(sb_producer_send(producer, &record, &err), &err);
}

static void send_events(const sb_config_t *config)
{
    const sb_header_t binary[] = {
        {"ce_id", SB_SLICE("b-1")}, {"ce_type", SB_SLICE("order.created")}, {"ce_source", SB_SLICE("/shop")}};
    const sb_header_t other[] = {{"ce_id", SB_SLICE("b-2")}, {"ce_type", SB_SLICE("order.shipped")}};
    const sb_header_t whole[] = {{"content-type", SB_SLICE("application/cloudevents+json; charset=utf-8")}};
    sb_error_t err = SB_ERROR_INIT;
    sb_producer_t *producer = NULL;
    assert_ok(sb_producer_open(&producer, config, "test", NULL, NULL, &err), &err);
    send_one(producer, "{\"n\":1}", binary, 3);
    send_one(producer, "no event", NULL, 0);
    send_one(producer, "{\"n\":9}", other, 2);
    send_one(producer, structured, whole, 1);
    send_one(producer, "{\"n\":3}", binary, 3);
    assert_ok(sb_producer_flush(producer, 60000, &err), &err);
    sb_producer_close(&producer);
}

static void spawn(sb_test_process_t *process, const sb_test_mock_t *mock, const char *const *argv,
                  const char *output)
{
    char bootstrap[256];
    (void)snprintf(bootstrap, sizeof bootstrap, "SAGABUS_KAFKA_BOOTSTRAP=%s", mock->bootstrap);
    const char *environment[] = {bootstrap, "SAGABUS_KAFKA_PREFIX=" PREFIX, NULL};
    sb_test_spawn(process, argv, environment, output);
}

static void run_subscribe(const sb_test_mock_t *mock, const char *limit, const char *output)
{
    sb_test_process_t process = {.pid = 0};
    const char *argv[] = {SB_SAGABUS, "subscribe", "order.cr*", "--group", "mail", "--limit", limit, NULL};
    spawn(&process, mock, argv, output);
    assert_true(sb_test_wait(&process, 120000));
    assert_int_equal(process.exit_code, 0);
    sb_test_process_end(&process);
}

static char *read_all(const char *path)
{
    static char text[8192];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    return text;
}

static void events_in_both_modes_are_lines_and_the_group_has_one_prefix(void **state)
{
    (void)state;
    sb_test_mock_t mock;
    sb_error_t err = SB_ERROR_INIT;
    sb_consumer_t *consumer = NULL;
    sb_test_messages_t got = {.item = NULL};
    const char *const topics[] = {TOPIC};
    char path[] = "/tmp/sagabus-subscribe-XXXXXX";
    assert_true(mkstemp(path) >= 0);
    sb_test_mock_open(&mock, 1);
    sb_test_mock_topic(&mock, TOPIC, 1);
    sb_config_t *config = sb_test_bus_config(mock.bootstrap, PREFIX);
    send_events(config);
    run_subscribe(&mock, "2", path);
    const char *text = read_all(path);
    const char *first = strstr(text, "\"data\":{\"n\":1}}\n");
    const char *second =
        strstr(text, "{\"specversion\":\"1.0\",\"id\":\"s-1\",\"source\":\"/shop\",  \"type\"");
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first < second);
    assert_null(strstr(text, "\"n\":9"));
    assert_null(strstr(text, "\"n\":3"));

    /* What is left is handed to a member of the group <prefix>mail. */
    assert_ok(sb_consumer_open(&consumer, config, "mail", topics, 1, &err), &err);
    sb_test_consume(consumer, &got, 1, 30000);
    assert_string_equal(got.item[0].value, "{\"n\":3}");
    sb_consumer_close(&consumer, 5000);
    sb_test_messages_free(&got);
    sb_config_free(&config);
    sb_test_mock_close(&mock);
    (void)remove(path);
}

/* Nobody keeps them without --state: they are said, and count. */
static void what_a_command_refuses_is_said_and_counts(void **state)
{
    (void)state;
    sb_test_mock_t mock;
    sb_test_process_t process = {.pid = 0};
    const char *const refuse[] = {SB_SAGABUS, "subscribe", "order.cr*", "--group", "mail",
                                  "--exec",   "exit 65",   "--limit",   "2",       NULL};
    const char *const mistyped[] = {SB_SAGABUS, "subscribe", "*",      "ordr.a", "ordr.b",
                                    "--group",  "none",      "--from", "now",    NULL};
    sb_test_mock_open(&mock, 1);
    sb_test_mock_topic(&mock, TOPIC, 1);
    sb_config_t *config = sb_test_bus_config(mock.bootstrap, PREFIX);
    send_events(config);
    spawn(&process, &mock, refuse, NULL);
    assert_true(sb_test_wait(&process, 60000));
    assert_int_equal(process.exit_code, 0);
    char *said = sb_test_output(&process);
    assert_contains(said, "SUBSCRIBER-DEAD");
    assert_contains(said, "reason=rejected");
    free(said);
    sb_test_process_end(&process);

    spawn(&process, &mock, mistyped, NULL);
    assert_true(sb_test_output_has(&process, "waiting for events of " PREFIX "ordr.events", 60000));
    assert_false(sb_test_output_has(&process, PREFIX ".events", 0)); /* "*" is of no one topic */
    sb_test_signal(&process, SIGINT);
    assert_true(sb_test_wait(&process, 60000));
    assert_int_equal(process.exit_code, 130);
    said = sb_test_output(&process);
    assert_null(strstr(strstr(said, "events of " PREFIX "ordr") + 1, "events of " PREFIX "ordr")); /* once */
    free(said);
    sb_test_process_end(&process);
    sb_config_free(&config);
    sb_test_mock_close(&mock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_both_modes_are_lines_and_the_group_has_one_prefix),
        cmocka_unit_test(what_a_command_refuses_is_said_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
