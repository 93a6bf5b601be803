/* relay_lost - what Kafka has lost of the events that a relay sent, as it can be seen from outside: the
 * relay's marks in PostgreSQL beside the first records of the events topics.
 *
 * A topic is lost when it is not there or never had a record, though events were sent to it; it was made anew
 * when every partition with records begins at offset 0 and not with the first event of its chain (`prev` of
 * its position above 0). It is neither when any partition begins later (retention took its head), begins with
 * the first of a chain (partitions were added beside it), or has not its offset 0 (compaction). A topic that
 * was made anew so long ago that retention has since taken its head is taken for whole: it would be without
 * these events anyway.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_LOST_H
#define SB_BUS_RELAY_LOST_H

#include "base/config.h"
#include "base/pg.h"
#include "bus/relay/relay_marks.h"

typedef enum sb_relay_topic_state {
    SB_RELAY_TOPIC_WHOLE,
    SB_RELAY_TOPIC_GONE,  /* not there */
    SB_RELAY_TOPIC_EMPTY, /* without a record, ever */
    SB_RELAY_TOPIC_ANEW,  /* has only what was sent after it was made again */
    SB_RELAY_TOPIC_UNREAD /* Kafka did not answer in time for all of its partitions */
} sb_relay_topic_state_t;

typedef struct sb_relay_topic {
    const char *topic;
    sb_slice_t category;
    sb_relay_topic_state_t state;
    bool filling;  /* a request to fill it again is open */
    int64_t sent;  /* the newest seq in it, as the relay has it */
    int64_t first; /* ANEW: the lowest seq it begins with, and the one that should be before it */
    int64_t prev;
} sb_relay_topic_t;

typedef struct sb_relay_cluster {
    char was[SB_CLUSTER_ID_MAX]; /* that events were sent to; "": none was */
    char is[SB_CLUSTER_ID_MAX];  /* that the configuration leads to; "": it does not say */
    bool dev_broker;             /* which keeps nothing when it ends */
} sb_relay_cluster_t;

/* Calls visit for each topic of the configuration's prefix that events were sent to, when cluster is filled.
 * Blocks up to timeout_ms for Kafka; what is not read by then is UNREAD. */
SB_MUST_CHECK sb_code_t sb_relay_lost_each(sb_pg_t *pg, const sb_config_t *config, int timeout_ms,
                                           sb_relay_cluster_t *cluster,
                                           void (*visit)(void *context, const sb_relay_topic_t *topic),
                                           void *context, sb_error_t *err);

#endif
