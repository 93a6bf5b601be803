/* view_switch - brings a generation that is not live to the end of the history, then makes it the live one.
 *
 * A replay does it with the generation it has built, a rollback with the one before; both hold the lease
 * `replay:NAME`, whose cursor is how far the generation is.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_SWITCH_H
#define SB_EVENTS_VIEW_SWITCH_H

#include "events/view/view_batch.h"
#include "events/view/view_generation.h"

typedef struct sb_view_switch {
    sb_pg_t *pg; /* borrowed, as all */
    sb_catalog_t *catalog;
    sb_lease_t *lease;
    const sb_view_definition_t *definition;
    const sb_hash_t *fingerprint;      /* NULL: of a rollback, the generation has it */
    const sb_view_definition_t *shown; /* a rollback's: the one that is live, whose columns stay in sight */
    int64_t generation;
    int64_t begun_seq; /* folded up to here long ago: what was detached below is not missed */
    sb_code_t (*on_step)(void *context, sb_error_t *err); /* after a batch, a try; not SB_OK stops */
    void *context;
    int64_t events, rows, parked; /* moved so far */
    int64_t seq_end;              /* where it is going */
    int64_t retired;              /* the generation that was live; 0: none */
    sb_view_batch_t *batch;       /* its own, as the next */
    sb_tally_t tally;
} sb_view_switch_t;

/* Folds by batches up to there. */
SB_MUST_CHECK sb_code_t sb_view_switch_to(sb_view_switch_t *s, int64_t seq, sb_error_t *err);

/* Folds by batches until little is left. */
SB_MUST_CHECK sb_code_t sb_view_switch_near(sb_view_switch_t *s, sb_error_t *err);

/* The rest and the switch in one transaction, tried again while a reader's lock is in the way, for 15
 * minutes at most. A commit whose answer was lost is looked up. SB_CONFLICT: an event type has a new version
 * since, or the SQL view cannot take the columns. */
SB_MUST_CHECK sb_code_t sb_view_switch_live(sb_view_switch_t *s, sb_error_t *err);

void sb_view_switch_fini(sb_view_switch_t *s);

#endif
