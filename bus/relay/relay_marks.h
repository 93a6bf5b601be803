/* relay_marks - what the relay must remember of Kafka between two owners: per topic how many partitions keys
 * were spread over, and per partition the last event that Kafka acknowledged.
 *
 * Kept as JSON in the relay's lease row, beside the cursor and in the same transaction:
 * {"cluster":"…","forked":0,"topics":{"order.events":[17,0,12]}}.
 *
 * Inner to the relay. Thread: the relay's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_MARKS_H
#define SB_BUS_RELAY_MARKS_H

#include "base/buf.h"
#include "bus/topic.h"

#define SB_CLUSTER_ID_MAX 128

typedef struct sb_relay_mark {
    sb_topic_t topic;
    int32_t count;
    int64_t *acked; /* by partition: the newest seq that is in Kafka, with all before it */
    int64_t *sent;  /* by partition: the newest seq handed to librdkafka */
} sb_relay_mark_t;

typedef struct sb_relay_marks {
    sb_relay_mark_t **item;
    size_t count;
    char cluster_id[SB_CLUSTER_ID_MAX]; /* "" before the first record */
    int64_t
        forked; /* an incarnation whose events Kafka has otherwise: stand still while it is ours; 0: none */
} sb_relay_marks_t;

void sb_relay_marks_fini(sb_relay_marks_t *marks);

/* Replaces the marks by those of a lease's detail; "" or {} gives none. SB_CORRUPT: not what was written. */
SB_MUST_CHECK sb_code_t sb_relay_marks_parse(sb_relay_marks_t *marks, sb_slice_t detail, sb_error_t *err);
void sb_relay_marks_write(const sb_relay_marks_t *marks, sb_buf_t *out);

/* NULL when the topic is new. */
sb_relay_mark_t *sb_relay_marks_find(const sb_relay_marks_t *marks, const char *topic);
/* The caller has seen that it is new. */
SB_MUST_CHECK sb_code_t sb_relay_marks_add(sb_relay_marks_t *marks, const char *topic, int32_t count,
                                           sb_relay_mark_t **out, sb_error_t *err);

/* Another partition count. What was on which partition means nothing any more, so every partition goes on
 * after the newest event of the topic: whoever has less sees a gap, and none is passed over. */
SB_MUST_CHECK sb_code_t sb_relay_mark_spread(sb_relay_mark_t *mark, int32_t count, sb_error_t *err);

/* What was sent and not acknowledged is to be sent again. */
void sb_relay_marks_rewind(sb_relay_marks_t *marks);

#endif
