/* event_body - a saga's events as JSON bodies, there and back.
 *
 * Bodies name steps by name and carry only what the fold and a reader need: a lean saga is five small rows.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_EVENT_BODY_H
#define SB_SAGA_EVENT_BODY_H

#include "saga/machine.h"

/* What saga.started says beside the machine's event. */
typedef struct sb_saga_head {
    sb_uuid_t id;
    sb_slice_t type;
    sb_slice_t key;
    sb_hash_t definition_hash;
} sb_saga_head_t;

/* Writes the body of an event. head is needed for STARTED, MIGRATED, COMPLETED, COMPENSATED and FAILED, which
 * tell other services whose saga it is. */
void sb_saga_event_write(const sb_definition_t *definition, const sb_saga_event_t *event,
                         const sb_saga_head_t *head, sb_buf_t *out);

/* Reads it back (with the type and time of its row); slices are borrowed from data, or from scratch (emptied
 * here) when they had to be unescaped. Unknown members are passed over. SB_CORRUPT: not a body of ours.
 * SB_UNSUPPORTED: a later release's machine started the saga. */
SB_MUST_CHECK sb_code_t sb_saga_event_read(const sb_definition_t *definition, sb_slice_t type, int64_t at_us,
                                           sb_slice_t data, sb_buf_t *scratch, sb_saga_event_t *out,
                                           sb_error_t *err);

#endif
