/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    sb_config_t *config;
    char prefix[SB_TEST_PREFIX];
    sb_topic_t events; /* the topic that most are about */
    sb_topic_list_t list;
    int created;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture_t *f = &fixture;
    *f = (fixture_t){.config = NULL};
    f->config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(f->prefix));
    assert_ok(sb_topic_events(f->events, f->prefix, SB_SLICE("order"), &f->err), &f->err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_topic_list_fini(&f->list);
    sb_config_free(&f->config);
    return 0;
}

static void makes_what_is_missing_and_refuses_another_count(void **state)
{
    fixture_t *f = *state;
    sb_topic_t replies;
    assert_ok(sb_topic_list_add(&f->list, f->events, 2, &f->err), &f->err);
    assert_ok(sb_topic_replies(replies, f->prefix, &f->err), &f->err);
    assert_ok(sb_topic_list_add(&f->list, replies, 4, &f->err), &f->err);
    assert_ok(sb_topics_inspect(f->config, &f->list, 20000, &f->err), &f->err);
    assert_int_equal(f->list.item[0].found, 0);
    assert_ok(sb_topics_apply(f->config, &f->list, 20000, &f->created, &f->err), &f->err);
    assert_int_equal(f->created, 2);
    assert_int_equal(f->list.item[0].found, 2);
    assert_int_equal(f->list.item[1].found, 4);
    assert_ok(sb_topics_apply(f->config, &f->list, 20000, &f->created, &f->err), &f->err);
    assert_int_equal(f->created, 0);
    f->list.item[0].partitions = 3;
    assert_code(SB_MISMATCH, sb_topics_apply(f->config, &f->list, 20000, &f->created, &f->err), &f->err);
    assert_contains(f->err.message, f->list.item[0].name);
}

static void names_the_topic_that_kafka_refuses(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "topics.replication", "3");
    assert_ok(sb_topic_list_add(&f->list, f->events, 1, &f->err), &f->err);
    assert_code(SB_INVALID, sb_topics_apply(f->config, &f->list, 20000, &f->created, &f->err), &f->err);
    assert_contains(f->err.message, f->events);
}

static void makes_events_topics_as_the_settings_want_them(void **state)
{
    fixture_t *f = *state;
    char value[64];
    sb_topic_t replies;
    sb_test_bus_set(f->config, "topics.retention_ms", "90m");
    sb_test_bus_set(f->config, "topics.cleanup_policy", "compact");
    assert_ok(sb_topic_replies(replies, f->prefix, &f->err), &f->err);
    assert_ok(sb_topic_list_add(&f->list, f->events, 1, &f->err), &f->err);
    assert_ok(sb_topic_list_add(&f->list, replies, 1, &f->err), &f->err);
    assert_ok(sb_topics_apply(f->config, &f->list, 20000, &f->created, &f->err), &f->err);
    sb_test_kafka_topic_setting(f->events, "retention.ms", value, sizeof value);
    assert_string_equal(value, "5400000");
    sb_test_kafka_topic_setting(f->events, "cleanup.policy", value, sizeof value);
    assert_string_equal(value, "compact");
    sb_test_kafka_topic_setting(f->events, "max.message.bytes", value, sizeof value);
    assert_ok(sb_topics_sizes(f->config, &f->list, 20000, &f->err), &f->err);
    assert_true(f->list.item[0].bytes_max > 0);
    assert_int_equal(f->list.item[0].bytes_max, strtoll(value, NULL, 10));
    sb_test_kafka_topic_setting(replies, "cleanup.policy", value, sizeof value);
    assert_string_equal(value,
                        "delete"); /* replies are no events: a later one does not stand for an earlier one */
}

static rd_kafka_resp_err_t ask_once(rd_kafka_t *handle, const char *topic, int32_t partitions)
{
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t p = 0; p < partitions; p++)
        rd_kafka_topic_partition_list_add(ends, topic, p)->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle, ends, 60000);
    for (int i = 0; i < ends->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        error = ends->elems[i].err;
    rd_kafka_topic_partition_list_destroy(ends);
    return error;
}

/* A topic of many partitions shows long before the last of them can be written to. */
static void what_it_made_can_be_written_to(void **state)
{
    fixture_t *f = *state;
    enum { PARTITIONS = 100 };
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *handle = NULL;
    assert_ok(sb_kafka_conf(&conf, f->config, SB_KAFKA_PRODUCER, NULL, &f->err), &f->err);
    assert_ok(sb_kafka_open(&handle, RD_KAFKA_PRODUCER, conf, &f->err), &f->err);
    assert_false(sb_kafka_is_dev_broker(handle, 60000)); /* it is connected */
    assert_ok(sb_topic_list_add(&f->list, f->events, PARTITIONS, &f->err), &f->err);
    assert_ok(sb_topics_apply(f->config, &f->list, 60000, &f->created, &f->err), &f->err);
    assert_string_equal(rd_kafka_err2name(ask_once(handle, f->events, PARTITIONS)), "NO_ERROR");
    rd_kafka_destroy(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(makes_what_is_missing_and_refuses_another_count, setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_made_can_be_written_to, setup, teardown),
        cmocka_unit_test_setup_teardown(names_the_topic_that_kafka_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(makes_events_topics_as_the_settings_want_them, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
