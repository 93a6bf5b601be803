/* push_admin - push subscriptions as operators see and steer them, by the database alone: nothing need run.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_ADMIN_H
#define SB_BUS_PUSH_ADMIN_H

#include "base/json.h"
#include "base/pg.h"

/* The registered ones; name NULL: all. *out is a new array of objects, each with `definition`. SB_NOT_FOUND
 * when there is none of that name. */
SB_MUST_CHECK sb_code_t sb_push_list(sb_pg_t *pg, const char *name, json_t **out, sb_error_t *err);

/* Nothing more is sent, as soon as the owner sees it (a second). SB_NOT_FOUND: it has not begun. */
SB_MUST_CHECK sb_code_t sb_push_pause(sb_pg_t *pg, const char *name, const char *by, const char *reason,
                                      sb_error_t *err);
/* after_seq -1: where it was; else the events after that number are delivered, some of them again. */
SB_MUST_CHECK sb_code_t sb_push_resume(sb_pg_t *pg, const char *name, int64_t after_seq, sb_error_t *err);

#endif
