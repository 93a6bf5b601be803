/* view_world - a store with the order domain's schemas and views, histories made at random, and the words to
 * compare what a view holds.
 *
 * Events are inserted by SQL, past the validation of an append, so that a history can also hold what must be
 * parked. The sequencer is played by sb_world_safe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_PG_VIEW_WORLD_H
#define SB_TESTS_PG_VIEW_WORLD_H

#include "events/view/view.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <pthread.h>

#define SB_WORLD_VIEWS 4 /* under schemas/ */

typedef struct sb_world {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
} sb_world_t;

/* A fresh database with everything under schemas/ applied. */
void sb_world_open(sb_world_t *world);
void sb_world_close(sb_world_t *world);

/* Appends count events over about that many keys, order.shipped in both its versions; seed decides
 * everything. poison: one in so many overflows or is of a wrong type (0: none). Moves the safe sequence
 * number to the end. */
void sb_world_append(sb_world_t *world, int seed, int count, int keys, int poison);
/* The safe sequence number becomes the last one drawn. */
int64_t sb_world_safe(sb_world_t *world);
int64_t sb_world_int(sb_world_t *world, const char *format, ...) SB_PRINTF(2, 3);

/* Everything a view shows, with what is parked, as a hash: the stable SQL view, or one generation. Owned
 * (free). */
char *sb_world_rows(sb_world_t *world, const char *view, int64_t generation);
int64_t sb_world_cursor(sb_world_t *world, const char *view);
/* How far the view is, in the database. */
bool sb_world_is_at(sb_world_t *world, const char *view, int64_t seq);

typedef struct sb_world_projector {
    sb_projector_t *projector;
    sb_catalog_t *catalog;
    pthread_t thread;
} sb_world_projector_t;

/* A projector of its own catalog, in a thread. */
void sb_world_start(sb_world_t *world, sb_world_projector_t *p, const char *owner, uint32_t batch_events);
void sb_world_stop(sb_world_projector_t *p);
/* Starts one, waits until all views are at the safe sequence number, stops it. */
void sb_world_project(sb_world_t *world, uint32_t batch_events);

/* Runs a replay with a catalog of its own. */
sb_code_t sb_world_replay(const char *uri, const char *view, int64_t range_seqs, sb_replay_fn on_progress,
                          void *context, sb_replay_report_t *report, sb_error_t *err);

#endif
