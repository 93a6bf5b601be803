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

/* Gives each catalog that is made here its C functions; NULL: none. */
extern sb_code_t (*sb_world_functions)(sb_catalog_t *catalog, sb_error_t *err);

/* A fresh database with everything under schemas/ applied. */
void sb_world_open(sb_world_t *world);
void sb_world_close(sb_world_t *world);
/* Registers a view from its text as `schema apply` does, with the checks and PostgreSQL's own. */
sb_code_t sb_world_apply(sb_world_t *world, const char *view, const char *body, sb_error_t *err);

/* Appends count events over about that many keys, order.shipped in both its versions; seed decides
 * everything. poison: one in so many overflows or is of a wrong type (0: none). Moves the safe sequence
 * number to the end. */
void sb_world_append(sb_world_t *world, int seed, int count, int keys, int poison);
/* The safe sequence number becomes the last one drawn. */
int64_t sb_world_safe(sb_world_t *world);
int64_t sb_world_int(sb_world_t *world, const char *format, ...) SB_PRINTF(2, 3);

/* Everything a view shows in all its tables, with what is parked, as hashes: the stable SQL views (0), or one
 * generation. Owned (free). */
char *sb_world_rows(sb_world_t *world, const char *view, int64_t generation);
/* Fails when the two are not the same; what: of what. */
void sb_world_assert_same(const char *want, const char *have, const char *what);
/* Fails when the rows of two generations (0: what people see) are not the same. */
void sb_world_assert_alike(sb_world_t *world, const char *view, int64_t one, int64_t other);
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

/* Runs a projector in a process of its own, in batches of three events, and kills it a while after it has
 * moved the view. */
void sb_world_kill_projector(sb_world_t *world, const char *view, int64_t after_ms);

/* Where a replay, in a process of its own, is killed: as a phase begins, of this pass or a later one. */
typedef struct sb_world_end {
    sb_replay_phase_t phase;
    int pass;
    int64_t memory_bytes; /* 0: the default */
} sb_world_end_t;
void sb_world_kill_replay(sb_world_t *world, const char *view, const sb_world_end_t *end);

/* Runs a replay with a catalog of its own. */
sb_code_t sb_world_replay(const char *uri, const char *view, int64_t range_seqs, sb_replay_fn on_progress,
                          void *context, sb_replay_report_t *report, sb_error_t *err);

#endif
