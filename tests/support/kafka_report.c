/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/kafka.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS    3000
#define GROUP_MAX 250

static rd_kafka_t *open_as(const char *group)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", getenv("SB_TEST_KAFKA"), text, sizeof text);
    (void)rd_kafka_conf_set(conf, "group.id", group, text, sizeof text);
    (void)rd_kafka_conf_set(conf, "enable.auto.commit", "false", text, sizeof text);
    (void)rd_kafka_conf_set(conf, "allow.auto.create.topics", "false", text, sizeof text);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (!handle)
        rd_kafka_conf_destroy(conf);
    return handle;
}

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static void report_topic(rd_kafka_t *handle, const rd_kafka_metadata_topic_t *topic)
{
    for (int p = 0; p < topic->partition_cnt; p++) {
        int64_t low = -1;
        int64_t high = -1;
        rd_kafka_resp_err_t error =
            rd_kafka_query_watermark_offsets(handle, topic->topic, p, &low, &high, ASK_MS);
        (void)fprintf(stderr, "topic %s %d: low %lld high %lld leader %d %s\n", topic->topic, p,
                      (long long)low, (long long)high, topic->partitions[p].leader,
                      error ? rd_kafka_err2str(error) : "");
    }
}

/* Where a group stands, in all topics of the prefix. */
static void report_offsets(const char *group, const rd_kafka_metadata_t *metadata, const char *prefix)
{
    rd_kafka_t *handle = open_as(group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (int t = 0; t < metadata->topic_cnt; t++)
        if (has_prefix(metadata->topics[t].topic, prefix))
            rd_kafka_topic_partition_list_add_range(list, metadata->topics[t].topic, 0,
                                                    metadata->topics[t].partition_cnt - 1);
    rd_kafka_resp_err_t error = handle ? rd_kafka_committed(handle, list, ASK_MS) : RD_KAFKA_RESP_ERR__FAIL;
    if (error)
        (void)fprintf(stderr, "  its offsets: %s\n", rd_kafka_err2str(error));
    for (int i = 0; i < list->cnt && !error; i++)
        if (list->elems[i].offset >= 0 || list->elems[i].err)
            (void)fprintf(stderr, "  %s %d: committed %lld %s\n", list->elems[i].topic,
                          list->elems[i].partition, (long long)list->elems[i].offset,
                          list->elems[i].err ? rd_kafka_err2str(list->elems[i].err) : "");
    rd_kafka_topic_partition_list_destroy(list);
    if (handle)
        rd_kafka_destroy(handle);
}

static void report_groups(rd_kafka_t *handle, const rd_kafka_metadata_t *metadata, const char *prefix)
{
    const struct rd_kafka_group_list *groups = NULL;
    rd_kafka_resp_err_t error = rd_kafka_list_groups(handle, NULL, &groups, ASK_MS);
    if (error)
        (void)fprintf(stderr, "groups: %s\n", rd_kafka_err2str(error));
    for (int g = 0; groups && g < groups->group_cnt; g++) {
        const struct rd_kafka_group_info *group = &groups->groups[g];
        if (!has_prefix(group->group, prefix))
            continue;
        (void)fprintf(stderr, "group %s: %s, %d members\n", group->group, group->state, group->member_cnt);
        report_offsets(group->group, metadata, prefix);
    }
    if (groups)
        rd_kafka_group_list_destroy(groups);
}

void sb_test_kafka_report(const char *prefix)
{
    char group[GROUP_MAX];
    (void)snprintf(group, sizeof group, "%slook", prefix);
    rd_kafka_t *handle = open_as(group);
    const rd_kafka_metadata_t *metadata = NULL;
    if (!handle)
        return;
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 1, NULL, &metadata, ASK_MS);
    (void)fprintf(stderr, "--- Kafka: %s\n", error ? rd_kafka_err2str(error) : "answers");
    for (int t = 0; metadata && t < metadata->topic_cnt; t++)
        if (has_prefix(metadata->topics[t].topic, prefix))
            report_topic(handle, &metadata->topics[t]);
    if (metadata) {
        report_groups(handle, metadata, prefix);
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_destroy(handle);
}

/* ---- a group ---- */

/* Of an assignment as the group protocol writes it: a version, then topics with their partitions. */
static int count_partitions(const unsigned char *at, int size)
{
    int count = 0;
    int topics = size < 6 ? 0 : at[4] << 8 | at[5];
    for (int t = 0, i = 6; t < topics && i + 6 <= size; t++) {
        i += 2 + (at[i] << 8 | at[i + 1]) + 4; /* past the name and the count */
        int partitions = i <= size ? at[i - 2] << 8 | at[i - 1] : 0;
        count += partitions;
        i += 4 * partitions;
    }
    return count;
}

int sb_test_kafka_group_partitions(const char *group)
{
    int found = -1;
    const struct rd_kafka_group_list *groups = NULL;
    rd_kafka_t *handle = open_as(group);
    if (!handle)
        return found;
    (void)rd_kafka_list_groups(handle, group, &groups, ASK_MS);
    for (int g = 0; groups && g < groups->group_cnt; g++) {
        const struct rd_kafka_group_info *info = &groups->groups[g];
        if (strcmp(info->state, "Stable") != 0 || info->member_cnt == 0)
            continue;
        found = 0;
        for (int m = 0; m < info->member_cnt; m++)
            found +=
                count_partitions(info->members[m].member_assignment, info->members[m].member_assignment_size);
    }
    if (groups)
        rd_kafka_group_list_destroy(groups);
    rd_kafka_destroy(handle);
    return found;
}

/* ---- a topic's settings ---- */

static void find_setting(rd_kafka_event_t *event, const char *name, char *value, size_t size)
{
    size_t topics = 0;
    size_t count = 0;
    const rd_kafka_ConfigResource_t **topic =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &topics);
    const rd_kafka_ConfigEntry_t **entry =
        topics == 1 ? rd_kafka_ConfigResource_configs(topic[0], &count) : NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entry[i]), name) == 0)
            (void)snprintf(value, size, "%s", rd_kafka_ConfigEntry_value(entry[i]));
}

void sb_test_kafka_topic_setting(const char *topic, const char *name, char *value, size_t size)
{
    value[0] = '\0';
    rd_kafka_t *handle = open_as("look");
    if (!handle)
        return;
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_DescribeConfigs(handle, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10 * ASK_MS);
    if (event && !rd_kafka_event_error(event))
        find_setting(event, name, value, size);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_destroy(handle);
}

void sb_test_kafka_set_topic(const char *topic, const char *name, const char *value)
{
    rd_kafka_t *handle = open_as("set");
    assert_non_null(handle);
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    assert_int_equal(rd_kafka_ConfigResource_set_config(resource, name, value), 0);
    rd_kafka_AlterConfigs(handle, &resource, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 10 * ASK_MS);
    const rd_kafka_AlterConfigs_result_t *result = event ? rd_kafka_event_AlterConfigs_result(event) : NULL;
    size_t count = 0;
    const rd_kafka_ConfigResource_t **done =
        result ? rd_kafka_AlterConfigs_result_resources(result, &count) : NULL;
    if (count != 1 || rd_kafka_ConfigResource_error(done[0]))
        fail_msg("topic %s: %s=%s: %s", topic, name, value,
                 count == 1 ? rd_kafka_ConfigResource_error_string(done[0])
                 : event    ? rd_kafka_event_error_string(event)
                            : "no answer");
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_destroy(handle);
}
