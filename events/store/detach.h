/* detach - takes old ranges of events out of the event table, a whole partition at a time.
 *
 * The partition's table stays, as a table of its own, to be archived or dropped by a DBA. Before anything is
 * taken away it is noted (event_detached) and the streams' first versions are raised, so that a reader of
 * what is gone is told so (SB_GONE) and never sees a hole. Appenders wait for no more than the moment in
 * which the first version of their stream is raised; one that holds its stream for long is waited for, and
 * holds up the others of its batch for a tenth of a second at most, three times.
 *
 * Broken off anywhere, it is run again and goes on.
 *
 * Thread: the connection's; for the owner of the tables.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_DETACH_H
#define SB_EVENTS_DETACH_H

#include "base/pg.h"
#include "sagabus/event.h"

#define SB_DETACH_MAX 64 /* ranges in one run */

typedef struct sb_detach_range {
    char leaf[64];
    int64_t from, to; /* of seq, both in it */
    int64_t events;   /* about */
    int64_t bytes;
    bool begun; /* by a run that was broken off */
} sb_detach_range_t;

typedef struct sb_detach_plan {
    sb_event_class_t event_class;
    int count;
    sb_detach_range_t range[SB_DETACH_MAX];
} sb_detach_plan_t;

/* The ranges that lie below before, oldest first. SB_CONFLICT: the relay, a view, sealing or an open saga has
 * not passed one of them; the message says which and where it stands. */
SB_MUST_CHECK sb_code_t sb_detach_plan(sb_pg_t *pg, sb_event_class_t event_class, int64_t before,
                                       sb_detach_plan_t *plan, sb_error_t *err);

/* Takes one range of the plan away. Blocks while transactions that have read it, or hold a stream of it, are
 * open, at most patience_ms: SB_TIMEOUT then, and the range is noted but still there; run it again. pg must
 * not be in a transaction. */
SB_MUST_CHECK sb_code_t sb_detach_range(sb_pg_t *pg, sb_event_class_t event_class,
                                        const sb_detach_range_t *range, int64_t patience_ms, sb_error_t *err);

#endif
