/* saga_types - the types of a saga's events, and which of them leave the store.
 *
 * The public ones go to Kafka and to subscribers; the others are the orchestrator's own.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SAGA_TYPES_H
#define SB_EVENTS_SAGA_TYPES_H

#include "sagabus/slice.h"

#define SB_SAGA_EVENT_MAP(ROW) /* kind, type, public */                                                      \
    ROW(STARTED, "saga.started", true)                                                                       \
    ROW(STEP_DISPATCHED, "saga.step.dispatched", false)                                                      \
    ROW(STEP_COMPLETED, "saga.step.completed", true)                                                         \
    ROW(STEP_FAILED, "saga.step.failed", true)                                                               \
    ROW(STEP_RETRIED, "saga.step.retried", false)                                                            \
    ROW(STEP_SKIPPED, "saga.step.skipped", false)                                                            \
    ROW(STEP_COMPENSATED, "saga.step.compensated", false)                                                    \
    ROW(COMPLETED, "saga.completed", true)                                                                   \
    ROW(COMPENSATING, "saga.compensating", false)                                                            \
    ROW(COMPENSATED, "saga.compensated", true)                                                               \
    ROW(REWINDING, "saga.rewinding", false)                                                                  \
    ROW(REWOUND, "saga.rewound", false)                                                                      \
    ROW(FAILED, "saga.failed", false)                                                                        \
    ROW(MIGRATED, "saga.migrated", false)                                                                    \
    ROW(PAUSED, "saga.paused", false)                                                                        \
    ROW(RESUMED, "saga.resumed", false)                                                                      \
    ROW(ATTENTION, "saga.attention", false)                                                                  \
    ROW(ANOMALY, "saga.anomaly", false)

/* The public ones, by number from 0; NULL: there are no more. */
const char *sb_saga_public_type(size_t number);

bool sb_saga_type_is_public(sb_slice_t type);

#endif
