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
    sb_reader_t *reader;
    sb_test_messages_t got;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void make_topic(fixture_t *f)
{
    int created = 0;
    sb_topic_list_t list = {NULL, 0, 0};
    assert_ok(sb_topic_list_add(&list, f->topic, 1, &f->err), &f->err);
    assert_ok(sb_topics_apply(f->config, &list, 20000, &created, &f->err), &f->err);
    sb_topic_list_fini(&list);
}

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    fixture.config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(fixture.prefix));
    assert_ok(sb_topic_replies(fixture.topic, fixture.prefix, &fixture.err), &fixture.err);
    make_topic(&fixture);
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
    return 0;
}

static void assign(fixture_t *f, int64_t offset, const char *cluster_id)
{
    assert_ok(sb_reader_assign(f->reader, f->topic, 0, offset, cluster_id, &f->err), &f->err);
}

static void goes_on_at_the_stored_offset(void **state)
{
    fixture_t *f = *state;
    char id[128];
    sb_test_produce(f->config, f->topic, 0, 0, 10);
    assign(f, 0, "");
    sb_test_read(f->reader, &f->got, 10, 20000);
    assert_false(f->got.reset);
    (void)snprintf(id, sizeof id, "%s", sb_reader_cluster_id(f->reader));
    assert_true(strlen(id) > 0);
    sb_reader_close(&f->reader);

    sb_test_messages_clear(&f->got);
    assert_ok(sb_reader_open(&f->reader, f->config, "test", &f->err), &f->err);
    assign(f, 6, id);
    sb_test_read(f->reader, &f->got, 4, 20000);
    assert_int_equal(f->got.item[0].offset, 6);
    assert_false(f->got.reset);
}

static void waits_for_a_topic_that_is_not_there_yet(void **state)
{
    fixture_t *f = *state;
    int n = 0;
    bool reset = false;
    (void)snprintf(f->topic, sizeof f->topic, "%slater", f->prefix);
    assign(f, 0, "");
    for (int i = 0; i < 10; i++)
        assert_ok(sb_reader_poll(f->reader, 10, 100, sb_test_collect, &f->got, &n, &reset, &f->err), &f->err);
    make_topic(f);
    sb_test_produce(f->config, f->topic, 0, 0, 3);
    sb_test_read(f->reader, &f->got, 3, 30000);
    assert_false(f->got.reset);
}

static void reads_on_after_the_broker_was_killed(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, f->topic, 0, 0, 5);
    assign(f, 0, "");
    sb_test_read(f->reader, &f->got, 5, 20000);
    sb_test_kafka_control("kill");
    int n = 0;
    bool reset = false;
    for (int i = 0; i < 5; i++)
        assert_ok(sb_reader_poll(f->reader, 10, 100, sb_test_collect, &f->got, &n, &reset, &f->err), &f->err);
    sb_test_kafka_control("start");
    sb_test_produce(f->config, f->topic, 0, 5, 5);
    sb_test_read(f->reader, &f->got, 10, 60000);
    assert_false(f->got.reset);
    assert_int_equal(f->got.item[9].offset, 9);
}

/* The new broker has as many records as the old one had, so that the offset alone tells nothing. */
static void begins_again_when_the_broker_was_wiped(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, f->topic, 0, 0, 10);
    assign(f, 0, "");
    sb_test_read(f->reader, &f->got, 10, 20000);
    sb_test_kafka_control("wipe");
    make_topic(f);
    sb_test_produce(f->config, f->topic, 0, 100, 20);
    sb_test_messages_clear(&f->got);
    sb_test_read(f->reader, &f->got, 20, 60000);
    assert_true(f->got.reset);
    assert_int_equal(f->got.item[0].offset, 0);
    assert_string_equal(f->got.item[0].value, "100");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_on_at_the_stored_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_for_a_topic_that_is_not_there_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_on_after_the_broker_was_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(begins_again_when_the_broker_was_wiped, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
