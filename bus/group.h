/* group - whether a consumer group reads all that its member asked for, as the brokers tell it.
 *
 * A group's leader hands out the partitions it sees in that moment. A topic that is away just then (the
 * brokers were wiped and it is being made anew) and back before librdkafka looks again has not changed in
 * librdkafka's eyes: no new assignment is asked for, and nobody ever reads it (2.0.2).
 *
 * Inner header of bus/. Thread: the handle's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_GROUP_H
#define SB_BUS_GROUP_H

#include "bus/kafka.h"

typedef struct sb_group_view {
    bool settled;   /* no rebalance is under way; else orphans say nothing */
    int partitions; /* that the topics have */
    int absent;     /* topics asked for by name that do not exist */
    int orphans;    /* partitions that no member has */
} sb_group_view_t;

/* Looks at the group of this consumer's handle and the topics it subscribed to; '^' begins a regular
 * expression. When the handle itself has all their partitions the group is not asked. Blocks for up to
 * timeout_ms. SB_UNSUPPORTED: brokers that cannot tell (the dev broker). */
SB_MUST_CHECK sb_code_t sb_group_look(rd_kafka_t *handle, const char *group, int timeout_ms,
                                      sb_group_view_t *out, sb_error_t *err);

#endif
