/* view_fold - carries out a view's definition on events, in memory: the one fold of live projection and
 * replay.
 *
 * It knows neither PostgreSQL nor time: given the same events in the same order it leaves the same rows,
 * however they were cut into batches. Live, a batch is touched first (so that the caller can load the rows it
 * will change), then applied; a replay only applies.
 *
 * What cannot be folded (a field of the wrong type, an overflow) parks its key: the row stays as it was
 * before that event and is dirty from then on, later events of the key are passed over, everything else goes
 * on. A rule whose key is
 * absent or null does not concern the table; an operation whose field is absent changes nothing.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_FOLD_H
#define SB_EVENTS_VIEW_FOLD_H

#include "events/view/view_rows.h"

#define SB_VIEW_KEY_BYTES_MAX 1024  /* a longer one is parked: a B-tree entry has its limit */
#define SB_VIEW_PARKED_MAX    10000 /* rows of view_parked in a generation: keys, and events without one */

typedef struct sb_view_fold sb_view_fold_t;

/* An event as the fold sees it; everything is borrowed for the call. */
typedef struct sb_view_input {
    int event;   /* index into the definition's events */
    int version; /* of the schema that data follows; only read by a C function */
    int64_t seq;
    int64_t time_us;
    int64_t stream;     /* its number; only read when the definition has a carry */
    sb_slice_t subject; /* only read when the definition reads it */
    sb_slice_t data;
} sb_view_input_t;

typedef struct sb_view_parked {
    int table;
    char *key; /* as text; NULL when it could not be read: then only that event is passed over */
    int event;
    int64_t seq;
    char *error;
    uint32_t hash; /* of the key */
} sb_view_parked_t;

/* Borrows the definition. bytes_max bounds the rows of all tables together. */
SB_MUST_CHECK sb_code_t sb_view_fold_new(sb_view_fold_t **out, const sb_view_definition_t *definition,
                                         size_t bytes_max, sb_error_t *err);
void sb_view_fold_free(sb_view_fold_t **fold);

/* Directly after new: its rows count against a budget that others share, and that outlives it. */
void sb_view_fold_share(sb_view_fold_t *fold, sb_view_budget_t *budget);

/* Folds rows of one part of all keys only, from an empty fold on: what was there, and which keys are parked,
 * is forgotten; parked_before counts what other parts have parked. Rows of several passes, each of another
 * part, are together those of one. What is wrong with an event whose key cannot be read belongs to the part
 * of the value 0. */
void sb_view_fold_begin(sb_view_fold_t *fold, const sb_view_part_t *part, size_t parked_before);
/* The part becomes one of its two halves: rows of the other are dropped, and what was parked of them. */
void sb_view_fold_narrow(sb_view_fold_t *fold, const sb_view_part_t *part);

/* Forgets rows and what was parked since the last reset, but not which keys are parked. */
void sb_view_fold_reset(sb_view_fold_t *fold);

/* What the rows are is on its way to the database: they are as if they had been loaded from there, and what
 * was parked since the last reset is forgotten. */
void sb_view_fold_written(sb_view_fold_t *fold);

/* Makes sure that the row of the carry is there that the event reads or changes. A view whose keys come from
 * the carry has all events of a batch through here, and these rows loaded, before the first is touched. */
SB_MUST_CHECK sb_code_t sb_view_fold_touch_carry(sb_view_fold_t *fold, const sb_view_input_t *input,
                                                 sb_error_t *err);
/* Makes sure that every row the event may change is there; events in their order. */
SB_MUST_CHECK sb_code_t sb_view_fold_touch(sb_view_fold_t *fold, const sb_view_input_t *input,
                                           sb_error_t *err);
/* Changes the rows. SB_TOO_LARGE: past the memory cap, or more than SB_VIEW_PARKED_MAX are parked. */
SB_MUST_CHECK sb_code_t sb_view_fold_apply(sb_view_fold_t *fold, const sb_view_input_t *input,
                                           sb_error_t *err);

sb_view_rows_t *sb_view_fold_rows(sb_view_fold_t *fold, int table);

/* Says that a key is parked already (at the start, from the database); absent: an event without one was. */
SB_MUST_CHECK sb_code_t sb_view_fold_park_key(sb_view_fold_t *fold, int table, sb_slice_t key,
                                              sb_error_t *err);
/* What was parked since the last reset. When the transaction that records it fails, the fold is of no more
 * use: it goes on passing over keys that nobody knows are parked. */
size_t sb_view_fold_parked_count(const sb_view_fold_t *fold);
const sb_view_parked_t *sb_view_fold_parked(const sb_view_fold_t *fold, size_t i);

#endif
