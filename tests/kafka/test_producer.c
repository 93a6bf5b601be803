/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <string.h>

typedef struct fixture {
    char prefix[SB_TEST_PREFIX];
    sb_topic_t topic;
    sb_config_t *config;
    sb_producer_t *producer;
    sb_test_messages_t got;
    sb_error_t err;
    int failed;
    sb_error_t failure;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    int created = 0;
    sb_topic_list_t list = {NULL, 0, 0};
    fixture = (fixture_t){.config = NULL};
    fixture.config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(fixture.prefix));
    (void)snprintf(fixture.topic, sizeof fixture.topic, "%scmd.payment", fixture.prefix);
    assert_ok(sb_topic_list_add(&list, fixture.topic, 3, &fixture.err), &fixture.err);
    assert_ok(sb_topics_apply(fixture.config, &list, 20000, &created, &fixture.err), &fixture.err);
    sb_topic_list_fini(&list);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_producer_close(&f->producer);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    return 0;
}

static void on_failed(void *context, uint64_t tag, const sb_error_t *err)
{
    fixture_t *f = context;
    (void)tag;
    f->failed++;
    f->failure = *err;
}

static void open_producer(fixture_t *f)
{
    assert_ok(sb_producer_open(&f->producer, f->config, "test", on_failed, f, &f->err), &f->err);
}

static sb_code_t send_text(fixture_t *f, const char *topic, const char *text)
{
    sb_record_t record = {
        .topic = topic, .partition = -1, .key = sb_slice(text), .value = sb_slice(text), .tag = 1};
    return sb_producer_send(f->producer, &record, &f->err);
}

static void read_all(fixture_t *f, size_t count)
{
    sb_reader_t *reader = NULL;
    assert_ok(sb_reader_open(&reader, f->config, "test", &f->err), &f->err);
    for (int32_t p = 0; p < 3; p++)
        assert_ok(sb_reader_assign(reader, f->topic, p, -1, "", &f->err), &f->err);
    sb_test_read(reader, &f->got, count, 20000);
    sb_reader_close(&reader);
}

static void a_key_is_where_we_say_and_a_tombstone_stays_one(void **state)
{
    fixture_t *f = *state;
    open_producer(f);
    for (int i = 0; i < 300; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "o-%d", i);
        assert_ok(send_text(f, f->topic, text), &f->err);
    }
    sb_record_t tombstone = {.topic = f->topic, .partition = 1, .key = SB_SLICE("gone")};
    sb_record_t empty = {.topic = f->topic, .partition = 1, .key = SB_SLICE("empty"), .value = SB_SLICE("")};
    assert_ok(sb_producer_send(f->producer, &tombstone, &f->err), &f->err);
    assert_ok(sb_producer_send(f->producer, &empty, &f->err), &f->err);
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    read_all(f, 302);
    assert_int_equal(f->failed, 0);
    assert_int_equal(f->got.count, 302);
    for (size_t i = 0; i < f->got.count; i++) {
        const sb_test_message_t *m = &f->got.item[i];
        bool is_gone = strcmp(m->key, "gone") == 0;
        assert_int_equal(m->tombstone, is_gone);
        if (m->key[0] == 'o')
            assert_int_equal(m->partition, sb_topic_partition(sb_slice(m->key), 3));
    }
}

static void reports_a_record_that_is_too_large_for_the_topic(void **state)
{
    fixture_t *f = *state;
    static char large[1500000];
    memset(large, 'x', sizeof large);
    open_producer(f);
    sb_record_t record = {.topic = f->topic, .partition = 0, .value = {large, sizeof large}, .tag = 9};
    assert_code(SB_TOO_LARGE, sb_producer_send(f->producer, &record, &f->err), &f->err);

    /* Past our own limit the topic's is left. */
    sb_producer_close(&f->producer);
    sb_test_bus_set(f->config, "kafka.message.max.bytes", "2000000");
    open_producer(f);
    assert_ok(sb_producer_send(f->producer, &record, &f->err), &f->err);
    for (int i = 0; i < 600 && f->failed == 0; i++)
        sb_producer_poll(f->producer, 100);
    assert_int_equal(f->failed, 1);
    assert_int_equal(f->failure.code, SB_TOO_LARGE);
}

static void reports_a_topic_that_is_not_there(void **state)
{
    fixture_t *f = *state;
    sb_topic_t missing;
    (void)snprintf(missing, sizeof missing, "%smissing", f->prefix);
    sb_test_bus_set(f->config, "kafka.topic.metadata.propagation.max.ms", "500");
    open_producer(f);
    sb_code_t code = send_text(f, missing, "x");
    for (int i = 0; i < 600 && f->failed == 0 && code == SB_OK; i++)
        sb_producer_poll(f->producer, 100);
    assert_int_equal(code == SB_OK ? f->failure.code : code, SB_NOT_FOUND);
}

static void what_was_sent_arrives_though_the_broker_was_killed(void **state)
{
    fixture_t *f = *state;
    sb_test_kafka_control("kill");
    open_producer(f);
    for (int i = 0; i < 100; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "o-%d", i);
        assert_ok(send_text(f, f->topic, text), &f->err);
    }
    sb_test_kafka_control("start");
    assert_ok(sb_producer_flush(f->producer, 60000, &f->err), &f->err);
    assert_int_equal(f->failed, 0);
    read_all(f, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_is_where_we_say_and_a_tombstone_stays_one, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_a_record_that_is_too_large_for_the_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_a_topic_that_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_sent_arrives_though_the_broker_was_killed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
