/* audit - the record of what operators did: who, what, when, why, and what came of it.
 *
 * Acts on one saga stand in saga_command, with their outcome; acts on many, and keys made and revoked, in
 * audit.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_AUDIT_H
#define SB_SAGA_AUDIT_H

#include "base/pg.h"

typedef struct sb_audit_page {
    const sb_uuid_t *saga; /* NULL: all */
    int64_t act;           /* of an act on many: it and its parts; 0: all */
    int64_t command;       /* the number that an act on one saga was answered with; 0: all */
    int limit;             /* 1 to 500 */
    sb_slice_t cursor;     /* of the page before; absent: the first */
} sb_audit_page_t;

/* Writes {"items": [{at, who, act, target, reason, detail, command, outcome, done_at, part_of}],
 * "next_cursor"}, newest first. SB_INVALID: not a cursor of ours. */
SB_MUST_CHECK sb_code_t sb_audit_list(sb_pg_t *pg, const sb_audit_page_t *page, sb_buf_t *out,
                                      sb_error_t *err);

#endif
