/* view_generation - the tables of a view in PostgreSQL: made, exposed to readers, switched, dropped.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_GENERATION_H
#define SB_EVENTS_VIEW_GENERATION_H

#include "base/lease.h"
#include "events/catalog.h"
#include "events/view/view_definition.h"
#include "events/view/view_fold.h"

typedef struct sb_view_generation {
    int64_t number; /* 0: the view was never projected */
    int version;    /* of its definition */
    sb_hash_t fingerprint;
} sb_view_generation_t;

/* The names of a view's two roles; text is SB_LEASE_ROLE_MAX. */
void sb_view_role(char *text, const char *view);
void sb_view_replay_role(char *text, const char *view);

/* What a view's rows follow from, beside the events: its definition, what its event types' versions declare
 * about becoming the newest, and the rules of its time zones. */
SB_MUST_CHECK sb_code_t sb_view_fingerprint(const sb_catalog_t *catalog,
                                            const sb_view_definition_t *definition, sb_hash_t *out,
                                            sb_error_t *err);

/* Compiles a registered version of a view; 0: the newest. *fingerprint may be NULL. SB_NOT_FOUND. A C
 * function that the catalog knows is bound; that it does not is for sb_view_foldable to say. */
SB_MUST_CHECK sb_code_t sb_view_registered(const sb_catalog_t *catalog, sb_slice_t name, int version,
                                           sb_view_definition_t **out, sb_hash_t *fingerprint,
                                           sb_error_t *err);

/* SB_UNSUPPORTED: it is folded by a C function that this process has not. */
SB_MUST_CHECK sb_code_t sb_view_foldable(const sb_view_definition_t *definition, sb_error_t *err);

/* SB_GONE: a range of domain events after this seq was detached, so that a view built from there (0: from the
 * beginning) would be wrong. */
SB_MUST_CHECK sb_code_t sb_view_history_whole(sb_pg_t *pg, const char *view, int64_t after, sb_error_t *err);

SB_MUST_CHECK sb_code_t sb_view_safe_seq(sb_pg_t *pg, int64_t *out, sb_error_t *err);

SB_MUST_CHECK sb_code_t sb_view_generation_live(sb_pg_t *pg, const char *view, sb_view_generation_t *out,
                                                sb_error_t *err);

/* Makes the first generation of a view, empty, and exposes it; one transaction under the view's lease. */
SB_MUST_CHECK sb_code_t sb_view_generation_first(sb_pg_t *pg, const sb_lease_t *lease,
                                                 const sb_view_definition_t *definition,
                                                 const sb_hash_t *fingerprint, sb_error_t *err);

/* The rest is for a replay, in transactions of its own. */

/* Claims the table names. SB_CONFLICT: one is another view's. */
SB_MUST_CHECK sb_code_t sb_view_generation_claim(sb_pg_t *pg, const sb_view_definition_t *definition,
                                                 sb_error_t *err);
/* The highest number ever given. */
SB_MUST_CHECK sb_code_t sb_view_generation_last(sb_pg_t *pg, const char *view, int64_t *out, sb_error_t *err);
/* Drops what replays that did not end left behind. */
SB_MUST_CHECK sb_code_t sb_view_generation_sweep(sb_pg_t *pg, const char *view, sb_error_t *err);
/* Drops old generations but one. Best effort: one that somebody built upon stays. */
void sb_view_generation_prune(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t but);
/* The last statements of a replay, in its open transaction that has locked the view's lease row: readers see
 * the new generation, the projector of the old one is fenced, the new one goes on from seq. SB_CONFLICT: the
 * SQL view cannot take the new columns. */
SB_MUST_CHECK sb_code_t sb_view_generation_switch(sb_pg_t *pg, const sb_view_definition_t *definition,
                                                  const sb_hash_t *fingerprint, int64_t number,
                                                  int64_t old_seq, int64_t seq, sb_error_t *err);

typedef struct sb_view_old_generation {
    int64_t number; /* 0: there is none */
    int version;
    int64_t seq; /* how far it was folded when it was retired */
} sb_view_old_generation_t;

/* The one that was live last; or, with number above 0, that one. */
SB_MUST_CHECK sb_code_t sb_view_generation_old(sb_pg_t *pg, const char *view, int64_t number,
                                               sb_view_old_generation_t *out, sb_error_t *err);
/* As switch, for an old generation that is live again. Columns that shown has and definition has not stay in
 * the SQL view, as NULL: it takes new columns, and loses none. */
SB_MUST_CHECK sb_code_t sb_view_generation_revive(sb_pg_t *pg, const sb_view_definition_t *definition,
                                                  const sb_view_definition_t *shown, int64_t number,
                                                  int64_t old_seq, int64_t seq, sb_error_t *err);

/* Tells a fold which keys are parked in a generation. */
SB_MUST_CHECK sb_code_t sb_view_parked_load(sb_pg_t *pg, const sb_view_definition_t *definition,
                                            int64_t number, sb_view_fold_t *fold, sb_error_t *err);

/* What a fold parked since its last reset, as the parameters of view_parked_add. */
typedef struct sb_view_parked_rows {
    sb_pg_array_t table;
    sb_pg_array_t key;
    sb_pg_array_t seq;
    sb_pg_array_t event;
    sb_pg_array_t error;
    sb_pg_params_t params;
} sb_view_parked_rows_t;

void sb_view_parked_rows_init(sb_view_parked_rows_t *rows);
void sb_view_parked_rows_fini(sb_view_parked_rows_t *rows);
/* Borrows from the fold until its next change. */
SB_MUST_CHECK sb_code_t sb_view_parked_rows_fill(sb_view_parked_rows_t *rows,
                                                 const sb_view_definition_t *definition, int64_t number,
                                                 const sb_view_fold_t *fold, sb_error_t *err);
/* Makes the parameters of what was added to the arrays. */
SB_MUST_CHECK sb_code_t sb_view_parked_rows_done(sb_view_parked_rows_t *rows,
                                                 const sb_view_definition_t *definition, int64_t number,
                                                 sb_error_t *err);

#endif
