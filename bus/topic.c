/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/topic.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define EVENTS ".events"

static sb_code_t make(sb_topic_t out, const char *prefix, const char *head, sb_slice_t name, const char *tail,
                      sb_error_t *err)
{
    int n = snprintf(out, SB_TOPIC_MAX, "%s%s%.*s%s", prefix, head, SB_SLICE_ARG(name), tail);
    if (n < 0 || n >= SB_TOPIC_MAX)
        return sb_fail(err, SB_INVALID, "topic name %s%s%.*s%s is longer than Kafka's 249 characters", prefix,
                       head, SB_SLICE_ARG(name), tail);
    for (const char *c = out; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '.' && *c != '_' && *c != '-')
            return sb_fail(err, SB_INVALID,
                           "topic name %s: Kafka allows letters, digits, '.', '_' and '-' only", out);
    return SB_OK;
}

sb_code_t sb_topic_events(sb_topic_t out, const char *prefix, sb_slice_t category, sb_error_t *err)
{
    return make(out, prefix, "", category, EVENTS, err);
}

sb_code_t sb_topic_direct(sb_topic_t out, const char *prefix, sb_slice_t category, sb_error_t *err)
{
    return make(out, prefix, "", category, ".direct", err);
}

sb_code_t sb_topic_named(sb_topic_t out, const char *prefix, const char *name, sb_error_t *err)
{
    return make(out, prefix, "", sb_slice(name), "", err);
}

sb_code_t sb_topic_commands(sb_topic_t out, const char *prefix, sb_slice_t participant, sb_error_t *err)
{
    return make(out, prefix, "cmd.", participant, "", err);
}

sb_code_t sb_topic_replies(sb_topic_t out, const char *prefix, sb_error_t *err)
{
    return make(out, prefix, "saga.replies", SB_SLICE(""), "", err);
}

bool sb_topic_is_events(const char *topic, const char *prefix, sb_slice_t *category)
{
    size_t length = strlen(topic), head = strlen(prefix), tail = sizeof EVENTS - 1;
    if (length <= head + tail || strncmp(topic, prefix, head) != 0 ||
        strcmp(topic + length - tail, EVENTS) != 0)
        return false;
    *category = (sb_slice_t){topic + head, length - head - tail};
    return true;
}

static uint32_t murmur2(sb_slice_t key)
{
    const uint32_t m = 0x5bd1e995;
    const uint8_t *at = (const uint8_t *)key.ptr;
    size_t left = key.len;
    uint32_t h = 0x9747b28cu ^ (uint32_t)key.len;
    for (; left >= 4; left -= 4, at += 4) {
        uint32_t k = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h = (h * m) ^ k;
    }
    if (left >= 3)
        h ^= (uint32_t)at[2] << 16;
    if (left >= 2)
        h ^= (uint32_t)at[1] << 8;
    if (left >= 1)
        h = (h ^ at[0]) * m;
    h ^= h >> 13;
    h *= m;
    return h ^ h >> 15;
}

int32_t sb_topic_partition(sb_slice_t key, int32_t count)
{
    return (int32_t)((murmur2(key) & 0x7fffffffu) % (uint32_t)count);
}
