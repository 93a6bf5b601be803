/* relay_tail - the last record of every partition of the events topics: does Kafka know events that the store
 * has lost?
 *
 * Inner to the relay. Thread: any; nothing is shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_TAIL_H
#define SB_BUS_RELAY_TAIL_H

#include "base/config.h"
#include "bus/position.h"
#include "bus/topic.h"
#include "sagabus/id.h"

#include <stdatomic.h>

typedef struct sb_relay_tail {
    sb_topic_t topic;
    int32_t partition;
    sb_position_t position;
    sb_uuid_t id;
} sb_relay_tail_t;

typedef sb_code_t (*sb_relay_tail_fn)(void *context, const sb_relay_tail_t *tail, sb_error_t *err);

/* Calls visit for the last record of each partition of `<prefix>*.events` that carries a position. Blocks up
 * to timeout_ms; what is not read by then is logged and left out; where no broker answers,
 * stopping ends it sooner. Not SB_OK from visit ends it and is returned. */
SB_MUST_CHECK sb_code_t sb_relay_tail_each(const sb_config_t *config, int timeout_ms,
                                           const atomic_bool *stopping, sb_relay_tail_fn visit, void *context,
                                           sb_error_t *err);

#endif
