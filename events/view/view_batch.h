/* view_batch - moves one generation of a view forward: read a page of events, fetch the rows they touch,
 * fold, and write rows, parked keys and checkpoint in one transaction whose first statement is the lease's
 * guard.
 *
 * The projector runs it under the lease `view:NAME`, a replay that catches up under `replay:NAME`.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_BATCH_H
#define SB_EVENTS_VIEW_BATCH_H

#include "base/lease.h"
#include "events/catalog.h"
#include "events/tally.h"
#include "events/view/view_fold.h"

typedef struct sb_view_type_entry {
    int event; /* index + 2; 1: none of the view's, 0: not looked up */
    int version;
    const sb_upcast_chain_t *chain; /* to the version the view is given; NULL: it is that */
} sb_view_type_entry_t;

/* Which of a definition's events a type number is, and how its bodies become the newest version: looked up
 * once, so that all events of a page (of a replay) are brought to the same version, whatever is registered
 * meanwhile. */
typedef struct sb_view_type_map {
    sb_view_type_entry_t *at; /* by type number */
    size_t count;
    uint64_t revision; /* of the catalog that it was filled from */
    sb_upcaster_t *upcaster;
} sb_view_type_map_t;

void sb_view_type_map_fini(sb_view_type_map_t *map);
/* Forgets everything when the catalog knows more than it did. */
void sb_view_type_map_refresh(sb_view_type_map_t *map, const sb_catalog_t *catalog);
/* *event: -1 when it is none of the view's. SB_NOT_FOUND, SB_UNSUPPORTED: the type is not known here, or its
 * old versions cannot become the newest; err names it. */
SB_MUST_CHECK sb_code_t sb_view_type_map_find(sb_view_type_map_t *map, const sb_view_definition_t *definition,
                                              const sb_catalog_t *catalog, int type_no, int *event,
                                              sb_error_t *err);
/* Brings input->data to the version the view is given, and says which that is, after a find that was SB_OK;
 * it is then borrowed from the map until the next call. A body that is not JSON stays as it is: the fold
 * parks it. */
SB_MUST_CHECK sb_code_t sb_view_type_map_upcast(sb_view_type_map_t *map,
                                                const sb_view_definition_t *definition, int type_no,
                                                sb_view_input_t *input, sb_error_t *err);

typedef struct sb_view_batch sb_view_batch_t;

typedef struct sb_view_batch_config {
    sb_pg_t *pg;                            /* borrowed */
    sb_catalog_t *catalog;                  /* borrowed */
    const sb_view_definition_t *definition; /* borrowed */
    int64_t generation;
    int events_max;
    sb_tally_t *tally; /* borrowed: what was folded and is not counted in the database */
    bool loose;        /* rows only, into the open transaction, which will be rolled back: no guard, no
                          checkpoint, no count. Of a view by SQL */
} sb_view_batch_config_t;

/* Reads which keys are parked. */
SB_MUST_CHECK sb_code_t sb_view_batch_new(sb_view_batch_t **out, const sb_view_batch_config_t *config,
                                          sb_error_t *err);
void sb_view_batch_free(sb_view_batch_t **batch);

/* While a batch is written, the next one is read by this connection, with the rows that it may change, when
 * there is more behind it; the two servers' processes then work at the same time. Borrowed until the batch is
 * freed. Whatever goes wrong with it, the next batch is read anew by the batch's own. */
void sb_view_batch_read_ahead(sb_view_batch_t *batch, sb_pg_t *reader);

typedef struct sb_view_batch_result {
    int64_t events;      /* folded */
    int64_t rows;        /* written */
    int64_t parked;      /* keys parked */
    bool saved;          /* the checkpoint is in the database; else only in lease->cursor */
    char waits_for[160]; /* an event type that is not known here yet, or cannot become the newest; "": none */
} sb_view_batch_result_t;

/* One step from lease->cursor towards to_seq, of events_max events at most, in one transaction or in the open
 * one; moves lease->cursor. After an error the batch is of no more use: free it. SB_FENCED: step down. */
SB_MUST_CHECK sb_code_t sb_view_batch_run(sb_view_batch_t *batch, sb_lease_t *lease, int64_t to_seq,
                                          sb_view_batch_result_t *result, sb_error_t *err);

/* Writes lease->cursor with the tally of the generation lease->next, and detail (JSON text, NULL: as it is),
 * in one transaction. Empties the tally. */
SB_MUST_CHECK sb_code_t sb_view_batch_save(sb_pg_t *pg, const sb_lease_t *lease, sb_tally_t *tally,
                                           const char *detail, sb_error_t *err);

/* Says which events a generation of the view is to have, and that it counts those after begun_seq. */
SB_MUST_CHECK sb_code_t sb_view_batch_count(sb_pg_t *pg, const sb_view_definition_t *definition,
                                            int64_t generation, int64_t begun_seq, sb_error_t *err);

#endif
