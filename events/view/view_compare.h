/* view_compare - the rows of a fold beside those of a table, row by row, in one snapshot.
 *
 * The fold is brought to where the table is in that snapshot, so both are as of the same event and nobody
 * waits: the projector goes on, and nothing is written.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_COMPARE_H
#define SB_EVENTS_VIEW_COMPARE_H

#include "events/view/view.h"
#include "events/view/view_fold.h"

typedef struct sb_view_comparing {
    sb_pg_t *pg;                       /* in the snapshot's transaction; borrowed, as all */
    const sb_view_definition_t *live;  /* of the table's generation */
    const sb_view_definition_t *other; /* of the fold; columns that only one of them has are left out */
    int64_t generation;                /* the table's */
    sb_view_fold_t *fold;
    const sb_view_part_t *part;          /* rows of other parts are left out */
    int differences_max;                 /* that are told, in all */
    sb_view_difference_fn on_difference; /* may be NULL */
    void *context;
    sb_view_comparison_t *result; /* added to */
} sb_view_comparing_t;

/* Compares all tables. */
SB_MUST_CHECK sb_code_t sb_view_compare_run(const sb_view_comparing_t *compare, sb_error_t *err);

#endif
