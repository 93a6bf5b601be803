/* event_body - what POST /v1/events brings, as an append of one event: a CloudEvent in structured mode, or in
 * binary mode with its attributes in ce- headers.
 *
 * What makes the append idempotent is the Idempotency-Key, or the client's own (source, id).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_EVENT_BODY_H
#define SB_SERVER_EVENT_BODY_H

#include "sagabus/store.h"
#include "server/request.h"

#define SB_EVENT_BODY_MEMBERS 14

/* The append borrows from the body, from the request and from itself: it must not be copied. */
typedef struct sb_event_body {
    sb_event_t event;
    sb_append_t append;
    sb_buf_t scratch[SB_EVENT_BODY_MEMBERS]; /* unescaped texts */
    sb_buf_t head;                           /* of binary mode: the attributes as a JSON object */
} sb_event_body_t;

/* Ids made from a client's text: the same each time. */
sb_uuid_t sb_event_body_name(sb_slice_t text);

/* Fills *body, which sb_event_body_fini takes back, also after an error. err->pointer is at the fault. */
SB_MUST_CHECK sb_code_t sb_event_body_read(const sb_request_t *request, sb_event_body_t *body,
                                           sb_error_t *err);
/* The same of one object of a batch, which is valid JSON: by its own (source, id) alone. */
SB_MUST_CHECK sb_code_t sb_event_body_read_item(const sb_request_t *request, sb_slice_t object,
                                                sb_event_body_t *body, sb_error_t *err);
void sb_event_body_fini(sb_event_body_t *body);

#endif
