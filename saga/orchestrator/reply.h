/* reply - a participant's answer, read from its headers.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_REPLY_H
#define SB_SAGA_REPLY_H

#include "bus/reader.h"
#include "saga/orchestrator/open_saga.h"

typedef struct sb_reply_in {
    sb_uuid_t saga_id;
    int64_t no;
    sb_slice_t step;
    sb_uuid_t causation_id; /* nil: not said */
    sb_saga_input_t input;  /* all but step; slices borrowed from the message or static */
} sb_reply_in_t;

/* SB_INVALID: not a reply that names its saga, step, direction and round. */
SB_MUST_CHECK sb_code_t sb_reply_read(const sb_message_t *message, sb_reply_in_t *out, sb_error_t *err);

/* Fills input.step and checks that the reply answers a command of this saga. SB_INVALID: it does not. */
SB_MUST_CHECK sb_code_t sb_reply_match(sb_reply_in_t *reply, const sb_open_saga_t *saga, sb_error_t *err);

#endif
