/* command - a command record decoded, and the reply record made from it: the participant's half of
 * contract.h.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_COMMAND_H
#define SB_SAGA_COMMAND_H

#include "bus/reader.h"
#include "sagabus/participant.h"

/* A decoded command; its slices are borrowed from the message. */
typedef struct sb_command_in {
    sb_command_t command;
    bool forward_completed; /* ce_sagaforward */
    int64_t expiry_us;      /* ce_expirytime: nobody waits for this try after it; 0: somebody does */
    sb_slice_t reply_topic;
    int32_t reply_partition;
} sb_command_in_t;

/* SB_INVALID says what is missing. *answerable tells whether a reply can be addressed all the same. */
SB_MUST_CHECK sb_code_t sb_command_read(const sb_message_t *message, sb_command_in_t *out, bool *answerable,
                                        sb_error_t *err);

/* A reply that owns its bytes, so that it can wait for the commit. */
typedef struct sb_reply_out {
    sb_buf_t bytes; /* topic, key, header names and values, body, one after the other */
    size_t topic_at, key_at, key_len, value_at, value_len;
    int32_t partition;
    size_t header_count;
    struct {
        size_t name_at, value_at, value_len;
    } header[SB_HEADERS_MAX];
} sb_reply_out_t;

void sb_reply_out_fini(sb_reply_out_t *reply);

/* Fills reply (reused between calls): every ce_saga… header is echoed, then id, type, causation, outcome,
 * error. */
SB_MUST_CHECK sb_code_t sb_reply_make(sb_reply_out_t *reply, const sb_message_t *command,
                                      const sb_command_in_t *in, const char *source,
                                      sb_reply_outcome_t outcome, sb_slice_t result, sb_slice_t error,
                                      sb_error_t *err);

/* The record to send; headers must have room for SB_HEADERS_MAX. Everything is borrowed from reply. */
void sb_reply_record(const sb_reply_out_t *reply, sb_header_t *headers, sb_record_t *out);

#endif
