/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <stdlib.h>

static void makes_what_is_missing_and_refuses_another_count(void **state)
{
    (void)state;
    char prefix[SB_TEST_PREFIX];
    sb_topic_t name;
    int created = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_config_t *config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(prefix));
    assert_ok(sb_topic_events(name, prefix, SB_SLICE("order"), &err), &err);
    assert_ok(sb_topic_list_add(&list, name, 2, &err), &err);
    assert_ok(sb_topic_replies(name, prefix, &err), &err);
    assert_ok(sb_topic_list_add(&list, name, 4, &err), &err);
    assert_ok(sb_topics_inspect(config, &list, 20000, &err), &err);
    assert_int_equal(list.item[0].found, 0);
    assert_ok(sb_topics_apply(config, &list, 20000, &created, &err), &err);
    assert_int_equal(created, 2);
    assert_int_equal(list.item[0].found, 2);
    assert_int_equal(list.item[1].found, 4);
    assert_ok(sb_topics_apply(config, &list, 20000, &created, &err), &err);
    assert_int_equal(created, 0);
    list.item[0].partitions = 3;
    assert_code(SB_MISMATCH, sb_topics_apply(config, &list, 20000, &created, &err), &err);
    assert_contains(err.message, list.item[0].name);
    sb_topic_list_fini(&list);
    sb_config_free(&config);
}

static void names_the_topic_that_kafka_refuses(void **state)
{
    (void)state;
    char prefix[SB_TEST_PREFIX];
    int created = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_config_t *config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(prefix));
    sb_test_bus_set(config, "topics.replication", "3");
    sb_topic_t name;
    assert_ok(sb_topic_events(name, prefix, SB_SLICE("order"), &err), &err);
    assert_ok(sb_topic_list_add(&list, name, 1, &err), &err);
    assert_code(SB_INVALID, sb_topics_apply(config, &list, 20000, &created, &err), &err);
    assert_contains(err.message, name);
    sb_topic_list_fini(&list);
    sb_config_free(&config);
}

static void makes_events_topics_as_the_settings_want_them(void **state)
{
    (void)state;
    char prefix[SB_TEST_PREFIX];
    char value[64];
    sb_topic_t events, replies;
    int created = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_config_t *config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(prefix));
    sb_test_bus_set(config, "topics.retention_ms", "90m");
    sb_test_bus_set(config, "topics.cleanup_policy", "compact");
    assert_ok(sb_topic_events(events, prefix, SB_SLICE("order"), &err), &err);
    assert_ok(sb_topic_replies(replies, prefix, &err), &err);
    assert_ok(sb_topic_list_add(&list, events, 1, &err), &err);
    assert_ok(sb_topic_list_add(&list, replies, 1, &err), &err);
    assert_ok(sb_topics_apply(config, &list, 20000, &created, &err), &err);
    sb_test_kafka_topic_setting(events, "retention.ms", value, sizeof value);
    assert_string_equal(value, "5400000");
    sb_test_kafka_topic_setting(events, "cleanup.policy", value, sizeof value);
    assert_string_equal(value, "compact");
    sb_test_kafka_topic_setting(events, "max.message.bytes", value, sizeof value);
    assert_ok(sb_topics_sizes(config, &list, 20000, &err), &err);
    assert_true(list.item[0].bytes_max > 0);
    assert_int_equal(list.item[0].bytes_max, strtoll(value, NULL, 10));
    sb_test_kafka_topic_setting(replies, "cleanup.policy", value, sizeof value);
    assert_string_equal(value,
                        "delete"); /* replies are no events: a later one does not stand for an earlier one */
    sb_topic_list_fini(&list);
    sb_config_free(&config);
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
    enum { PARTITIONS = 100 };
    (void)state;
    char prefix[SB_TEST_PREFIX];
    sb_topic_t name;
    int created = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *handle = NULL;
    sb_config_t *config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(prefix));
    assert_ok(sb_kafka_conf(&conf, config, SB_KAFKA_PRODUCER, NULL, &err), &err);
    assert_ok(sb_kafka_open(&handle, RD_KAFKA_PRODUCER, conf, &err), &err);
    assert_false(sb_kafka_is_dev_broker(handle, 60000)); /* it is connected */
    assert_ok(sb_topic_events(name, prefix, SB_SLICE("order"), &err), &err);
    assert_ok(sb_topic_list_add(&list, name, PARTITIONS, &err), &err);
    assert_ok(sb_topics_apply(config, &list, 60000, &created, &err), &err);
    assert_string_equal(rd_kafka_err2name(ask_once(handle, name, PARTITIONS)), "NO_ERROR");
    rd_kafka_destroy(handle);
    sb_topic_list_fini(&list);
    sb_config_free(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_what_is_missing_and_refuses_another_count),
        cmocka_unit_test(what_it_made_can_be_written_to),
        cmocka_unit_test(names_the_topic_that_kafka_refuses),
        cmocka_unit_test(makes_events_topics_as_the_settings_want_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
