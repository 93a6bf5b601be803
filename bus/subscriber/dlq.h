/* dlq - dead letters as operators see them: listed by error, shown, edited, tried again, discarded.
 *
 * Over the tables of a service's schema (search_path). What is to be tried again is only marked: a member of
 * the subscription that runs hands it over, a held key as a whole and in order.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_DLQ_H
#define SB_BUS_DLQ_H

#include "base/json.h"
#include "base/pg.h"

/* Which dead letters. */
typedef struct sb_dlq_filter {
    const char *subscription;
    const char *key;   /* NULL: any */
    int64_t no;        /* 0: any */
    const char *error; /* fingerprint; NULL: any */
} sb_dlq_filter_t;

/* Groups of open dead letters; subscription NULL: of all. *out is a new array. */
SB_MUST_CHECK sb_code_t sb_dlq_list(sb_pg_t *pg, const char *subscription, json_t **out, sb_error_t *err);
/* *out is a new object. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_dlq_show(sb_pg_t *pg, int64_t no, json_t **out, sb_error_t *err);
/* Replaces the body of an open one. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_dlq_edit(sb_pg_t *pg, const char *subscription, int64_t no, sb_slice_t body,
                                    sb_error_t *err);
/* Marks held keys (*keys) and dead letters of their own (*rows) to be tried again, one
 * dead letter every pace_us in each member that hands them over, also when they have been due for long. */
SB_MUST_CHECK sb_code_t sb_dlq_redrive(sb_pg_t *pg, const sb_dlq_filter_t *filter, int64_t pace_us,
                                       int64_t *keys, int64_t *rows, sb_error_t *err);
/* Ends them without handling them; keys that nothing waits behind any more are free (*keys). */
SB_MUST_CHECK sb_code_t sb_dlq_discard(sb_pg_t *pg, const sb_dlq_filter_t *filter, const char *reason,
                                       int64_t *rows, int64_t *keys, sb_error_t *err);

#endif
