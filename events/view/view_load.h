/* view_load - a folded view out of memory into the tables of a generation.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_LOAD_H
#define SB_EVENTS_VIEW_LOAD_H

#include "base/lease.h"
#include "events/view/view_fold.h"

/* Called now and then with the rows that were written; not SB_OK stops the load. */
typedef sb_code_t (*sb_view_load_fn)(void *context, int64_t rows, sb_error_t *err);

typedef struct sb_view_load {
    sb_pg_t *pg;             /* borrowed, as all */
    const sb_lease_t *lease; /* whose guard begins the transaction */
    const sb_view_definition_t *definition;
    int64_t generation;
    sb_view_fold_t *fold;
    bool first; /* the tables are made */
    bool last;  /* and get their indexes */
    sb_view_load_fn on_rows;
    void *context;
} sb_view_load_t;

/* Writes the rows of a fold and what it parked, in one transaction. In the first, rows are written frozen and
 * once. */
SB_MUST_CHECK sb_code_t sb_view_load_run(const sb_view_load_t *load, sb_error_t *err);

/* Statistics for the planner, after the last. */
SB_MUST_CHECK sb_code_t sb_view_load_analyze(sb_pg_t *pg, const sb_view_definition_t *definition,
                                             int64_t generation, sb_error_t *err);

#endif
