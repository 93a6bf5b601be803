/* topic - names of the topics, all under `kafka.prefix`, and which partition a key goes to.
 *
 * `<prefix><category>.events` carries a category's events, `<prefix><category>.direct` those that were
 * published past the store, `<prefix>cmd.<participant>` a participant's commands, `<prefix>saga.replies` the
 * replies (one partition a saga shard).
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_TOPIC_H
#define SB_BUS_TOPIC_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

#include <stdint.h>

#define SB_TOPIC_MAX 250 /* Kafka's 249 and the end */

typedef char sb_topic_t[SB_TOPIC_MAX];

/* SB_INVALID when the name would be longer than Kafka takes or has characters it refuses. */
SB_MUST_CHECK sb_code_t sb_topic_events(sb_topic_t out, const char *prefix, sb_slice_t category,
                                        sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_topic_direct(sb_topic_t out, const char *prefix, sb_slice_t category,
                                        sb_error_t *err);
/* One that someone else named. */
SB_MUST_CHECK sb_code_t sb_topic_named(sb_topic_t out, const char *prefix, const char *name, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_topic_commands(sb_topic_t out, const char *prefix, sb_slice_t participant,
                                          sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_topic_replies(sb_topic_t out, const char *prefix, sb_error_t *err);

/* Whether a topic is the one of a category's events, and of which; *category borrows from topic. */
bool sb_topic_is_events(const char *topic, const char *prefix, sb_slice_t *category);

/* The partition of a key, as the Java client's default partitioner has it: murmur2 (Austin Appleby's, seed
 * 0x9747b28c) with the sign bit cleared, modulo count. */
int32_t sb_topic_partition(sb_slice_t key, int32_t count);

#endif
