/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/group.h"

#include "base/clock.h"
#include "bus/topic.h"

#include <regex.h>
#include <string.h>

#define ASKED_APART_MAX 4

typedef rd_kafka_topic_partition_list_t list_t;

static int left_ms(int64_t until_us)
{
    int64_t left = (until_us - sb_mono_us()) / 1000;
    return left < 1 ? 1 : (int)left;
}

/* ---- what the topics have ---- */

static bool matches(const char *wanted, const char *topic)
{
    regex_t expression;
    if (wanted[0] != '^')
        return strcmp(wanted, topic) == 0;
    if (regcomp(&expression, wanted, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool is = regexec(&expression, topic, 0, NULL, 0) == 0;
    regfree(&expression);
    return is;
}

/* Adds the partitions of the topics that match; returns how many topics that were. */
static int add_matching(const rd_kafka_metadata_t *metadata, const char *wanted, list_t *all)
{
    int found = 0;
    for (int t = 0; t < metadata->topic_cnt; t++) {
        const rd_kafka_metadata_topic_t *topic = &metadata->topics[t];
        if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR || !matches(wanted, topic->topic))
            continue;
        found++;
        for (int p = 0; p < topic->partition_cnt; p++)
            if (!rd_kafka_topic_partition_list_find(all, topic->topic, p))
                (void)rd_kafka_topic_partition_list_add(all, topic->topic, p);
    }
    return found;
}

/* topic: NULL: all there are. *out is owned. */
static sb_code_t ask(rd_kafka_t *handle, const char *topic, int64_t until_us, const rd_kafka_metadata_t **out,
                     sb_error_t *err)
{
    rd_kafka_topic_t *only = topic ? rd_kafka_topic_new(handle, topic, NULL) : NULL;
    if (topic && !only)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", topic);
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, !topic, only, out, left_ms(until_us));
    if (only)
        rd_kafka_topic_destroy(only);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR
               ? SB_OK
               : sb_kafka_fail(err, error, "ask for %s", topic ? topic : "all topics");
}

/* A few topics are asked for one by one: a cluster may have many thousands. More are asked for at once, with
 * all the others: each answer may wait behind a fetch that waits for messages. */
static sb_code_t look_at_topics(rd_kafka_t *handle, int64_t until_us, list_t *all, sb_group_view_t *out,
                                sb_error_t *err)
{
    list_t *wanted = NULL;
    const rd_kafka_metadata_t *whole = NULL;
    rd_kafka_resp_err_t error = rd_kafka_subscription(handle, &wanted);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "ask for the subscription");
    sb_code_t code = wanted->cnt > ASKED_APART_MAX ? ask(handle, NULL, until_us, &whole, err) : SB_OK;
    for (int i = 0; i < wanted->cnt && code == SB_OK; i++) {
        const char *name = wanted->elems[i].topic;
        const rd_kafka_metadata_t *own = NULL, *metadata = whole;
        bool is_expression = name[0] == '^';
        if (!metadata) {
            code = ask(handle, is_expression ? NULL : name, until_us, &own, err);
            metadata = own;
        }
        if (code == SB_OK && metadata)
            out->absent += add_matching(metadata, name, all) == 0 && !is_expression;
        if (own)
            rd_kafka_metadata_destroy(own);
    }
    if (whole)
        rd_kafka_metadata_destroy(whole);
    rd_kafka_topic_partition_list_destroy(wanted);
    out->partitions = all->cnt;
    return code;
}

/* ---- who has them ---- */

static void take_away(list_t *from, const list_t *assigned)
{
    for (int i = 0; assigned && i < assigned->cnt; i++)
        (void)rd_kafka_topic_partition_list_del(from, assigned->elems[i].topic, assigned->elems[i].partition);
}

static bool take_own(rd_kafka_t *handle, list_t *from)
{
    list_t *own = NULL;
    if (rd_kafka_assignment(handle, &own) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    take_away(from, own);
    rd_kafka_topic_partition_list_destroy(own);
    return from->cnt == 0;
}

/* A member's assignment as the group protocol writes it: a version, then topics with their partitions. */
typedef struct bytes {
    const unsigned char *at;
    size_t left;
    bool short_of; /* it ended too soon */
} bytes_t;

static const unsigned char *take_bytes(bytes_t *in, size_t count)
{
    const unsigned char *at = in->at;
    in->short_of = in->short_of || count > in->left;
    if (in->short_of)
        return NULL;
    in->at += count;
    in->left -= count;
    return at;
}

static int32_t take_int(bytes_t *in, size_t size)
{
    uint32_t value = 0;
    const unsigned char *at = take_bytes(in, size);
    for (size_t i = 0; at && i < size; i++)
        value = value << 8 | at[i];
    return (int32_t)value;
}

static void take_topic(bytes_t *in, list_t *from)
{
    char topic[SB_TOPIC_MAX] = "";
    size_t length = (size_t)take_int(in, 2);
    const unsigned char *name = take_bytes(in, length);
    if (name && length < sizeof topic)
        memcpy(topic, name, length);
    int32_t count = take_int(in, 4);
    for (int32_t p = 0; p < count && !in->short_of; p++)
        (void)rd_kafka_topic_partition_list_del(from, topic, take_int(in, 4));
}

static void take_member(const struct rd_kafka_group_member_info *member, list_t *from)
{
    bytes_t in = {.at = member->member_assignment, .left = (size_t)member->member_assignment_size};
    (void)take_int(&in, 2);
    int32_t topics = take_int(&in, 4);
    for (int32_t t = 0; t < topics && !in.short_of; t++)
        take_topic(&in, from);
}

/* By the old call: with DescribeConsumerGroups librdkafka 2.0.2 ends the process by an assertion at times. */
static sb_code_t look_at_members(rd_kafka_t *handle, const char *group, int64_t until_us, list_t *orphans,
                                 sb_group_view_t *out, sb_error_t *err)
{
    const struct rd_kafka_group_list *groups = NULL;
    rd_kafka_resp_err_t error = rd_kafka_list_groups(handle, group, &groups, left_ms(until_us));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "ask for group %s", group);
    out->settled = false;
    for (int g = 0; g < groups->group_cnt; g++) {
        const struct rd_kafka_group_info *info = &groups->groups[g];
        if (info->err != RD_KAFKA_RESP_ERR_NO_ERROR || strcmp(info->group, group) != 0)
            continue;
        out->settled = strcmp(info->state, "Stable") == 0;
        for (int m = 0; m < info->member_cnt; m++)
            take_member(&info->members[m], orphans);
    }
    rd_kafka_group_list_destroy(groups);
    return SB_OK;
}

sb_code_t sb_group_look(rd_kafka_t *handle, const char *group, int timeout_ms, sb_group_view_t *out,
                        sb_error_t *err)
{
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    *out = (sb_group_view_t){.settled = true};
    list_t *left = rd_kafka_topic_partition_list_new(16);
    sb_code_t code = look_at_topics(handle, until_us, left, out, err);
    if (code == SB_OK && !take_own(handle, left))
        code = look_at_members(handle, group, until_us, left, out, err);
    out->orphans = left->cnt;
    rd_kafka_topic_partition_list_destroy(left);
    return code;
}
