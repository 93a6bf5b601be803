/* act - an operator's verb, on one saga or on all that a filter finds: checked, tried out, or written for the
 * instances that own them.
 *
 * A verb is written to table saga_command, with who asked and why, and carried out by the owner of the saga's
 * shard, who is told at once; its outcome comes to stand beside it (audit.h). A dry run asks the machine
 * itself what would come of it, and writes nothing.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ACT_H
#define SB_SAGA_ACT_H

#include "saga/query/query.h"

/* All slices are borrowed. */
typedef struct sb_saga_act {
    sb_saga_input_kind_t verb;
    sb_slice_t step;   /* REWIND, SKIP; RETRY may name one */
    sb_slice_t result; /* SKIP may give one: a JSON object */
    sb_slice_t input;  /* RETRY of a step and REWIND may: a JSON object in place of the definition's */
    bool pause;        /* REWIND: it waits when it is back */
    int version;       /* MIGRATE: of the definition, from 1 */
    sb_slice_t by;     /* who asks */
    sb_slice_t reason; /* and why: must be there */
} sb_saga_act_t;

/* SB_INVALID, err->pointer at the member that is missing or does not belong to the verb. */
SB_MUST_CHECK sb_code_t sb_saga_act_check(const sb_saga_act_t *act, sb_error_t *err);

/* Writes it for one saga; *command_no is its number in the record. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_saga_act_one(sb_pg_t *pg, const sb_saga_act_t *act, const sb_uuid_t *id,
                                        int64_t *command_no, sb_error_t *err);

#define SB_SAGA_REFUSAL_MAX 512 /* as long as an error */

/* What would come of it now. *refusal is owned by the caller's err-like buffer of refusal_size bytes: "" when
 * it would be taken. SB_NOT_FOUND: there is no such saga. */
SB_MUST_CHECK sb_code_t sb_saga_act_try(sb_pg_t *pg, sb_catalog_t *catalog, const sb_saga_act_t *act,
                                        const sb_uuid_t *id, char *refusal, size_t refusal_size,
                                        sb_error_t *err);

#define SB_SAGA_ACT_MANY_MAX 1000

/* Which ones: the oldest open sagas that the filter finds, behind the cursor. */
typedef struct sb_saga_many {
    sb_saga_filter_t filter;
    int limit;         /* 1 to SB_SAGA_ACT_MANY_MAX */
    sb_slice_t cursor; /* the next_cursor of the call before; absent: from the first */
} sb_saga_many_t;

/* Writes {dry_run, verb, matched, more, next_cursor, act, items: [as of a list, refusal]}; `act` is its
 * number in the record, null for a dry run; refusal, of a dry run only, says why one would not be taken, null
 * when it would. Each call is an act of its own. SB_INVALID: the filter asks nothing, which would be all
 * sagas there are; or the cursor is not ours. */
SB_MUST_CHECK sb_code_t sb_saga_act_many(sb_pg_t *pg, sb_catalog_t *catalog, const sb_saga_act_t *act,
                                         const sb_saga_many_t *many, bool dry_run, sb_buf_t *out,
                                         sb_error_t *err);

#endif
