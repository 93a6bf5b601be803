/* topics - which topics this installation needs, and making them.
 *
 * One events topic a category, one command topic a participant, one reply topic with a partition a saga
 * shard.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_TOPICS_H
#define SB_BUS_TOPICS_H

#include "base/config.h"
#include "bus/topic.h"

typedef struct sb_topic_want {
    sb_topic_t name;
    int32_t partitions;
    int32_t found;     /* partitions in the cluster; 0: the topic is not there */
    int64_t bytes_max; /* its max.message.bytes; 0: not known (no right to ask, the dev broker) */
} sb_topic_want_t;

typedef struct sb_topic_list {
    sb_topic_want_t *item;
    size_t count;
    size_t cap;
} sb_topic_list_t;

void sb_topic_list_fini(sb_topic_list_t *list);
SB_MUST_CHECK sb_code_t sb_topic_list_add(sb_topic_list_t *list, const char *name, int32_t partitions,
                                          sb_error_t *err);

/* Fills `found` from the cluster. Blocks up to timeout_ms. */
SB_MUST_CHECK sb_code_t sb_topics_inspect(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms,
                                          sb_error_t *err);
/* Creates what is missing, and waits until the leaders of its partitions answer: before that a producer's
 * first records may be lost. Never changes a partition count: a topic with another one is SB_MISMATCH. On the
 * dev broker, which has no admin API, topics make themselves. */
SB_MUST_CHECK sb_code_t sb_topics_apply(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms,
                                        int *created, sb_error_t *err);

/* Fills `bytes_max` of the topics that are there, as far as the cluster tells; needs the right
 * DescribeConfigs. Blocks up to timeout_ms. */
SB_MUST_CHECK sb_code_t sb_topics_sizes(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms,
                                        sb_error_t *err);

/* The librdkafka that is loaded, "2.0.2", and what is to be said of it with these settings: SCRAM, which
 * Kafka 4 refuses from one before 2.6.1. NULL: nothing. Both are static text. */
const char *sb_kafka_library(void);
const char *sb_kafka_library_advice(const sb_config_t *config);

/* Leaves an empty topic: makes it when it is not there; deletes it first and makes it again, with as many
 * partitions as it had, when it has records and recreate says so. SB_CONFLICT: it has records, or
 * topics.manage is false and it is not there. Blocks up to timeout_ms. */
SB_MUST_CHECK sb_code_t sb_topics_clear(const sb_config_t *config, const char *name, int32_t partitions,
                                        bool recreate, int timeout_ms, sb_error_t *err);

#endif
