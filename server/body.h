/* body - reading the members of a JSON request body by the field scanner, so that nested JSON keeps its
 * bytes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_BODY_H
#define SB_SERVER_BODY_H

#include "base/scan.h"
#include "server/request.h"

/* One member that the body may have. value is absent (kind SB_SCAN_INVALID) when it is not there. */
typedef struct sb_member {
    const char *name;
    const char *kinds; /* what it may be: s string, n number, b boolean, o object, a array, * anything */
    sb_scan_value_t value;
} sb_member_t;

#define SB_BODY_BATCH "application/cloudevents-batch+json"

/* Whether the Content-Type says JSON, or structured CloudEvents, one or a batch. */
bool sb_body_type_ok(const sb_request_t *request);
bool sb_body_is_batch(const sb_request_t *request);
/* A CloudEvent in binary mode: the attributes in ce- headers, the body is the data alone. */
bool sb_body_is_binary(const sb_request_t *request);

/* Fills the values of list (ended by a NULL name). SB_INVALID: no JSON object, an unknown
 * or repeated member (with those there are), or one of the wrong kind; err->pointer at the fault. */
SB_MUST_CHECK sb_code_t sb_body_read(const sb_request_t *request, sb_member_t *list, sb_error_t *err);
/* The same of an object that is valid JSON. */
SB_MUST_CHECK sb_code_t sb_body_members(sb_slice_t object, sb_member_t *list, sb_error_t *err);
/* The whole body, checked: an object or an array. */
SB_MUST_CHECK sb_code_t sb_body_value(const sb_request_t *request, sb_scan_kind_t kind, sb_slice_t *out,
                                      sb_error_t *err);

/* The text of a string member, absent when it is not there. Unescaped text is kept in scratch, which must not
 * be reset while the slice is in use: one scratch a member. */
sb_slice_t sb_member_text(const sb_member_t *member, sb_buf_t *scratch);
bool sb_member_is_there(const sb_member_t *member);

#endif
