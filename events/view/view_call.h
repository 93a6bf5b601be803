/* view_call - one event at work on one row by the view's C function: the row as the function sees it
 * (sagabus/view.h), and what it sets.
 *
 * Thread: the fold's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_CALL_H
#define SB_EVENTS_VIEW_CALL_H

#include "events/view/view_rows.h"

/* The arrays are borrowed and have an entry for each column of the table. */
typedef struct sb_view_call {
    const sb_view_definition_t *definition;
    const sb_view_rows_t *rows;
    const sb_view_row_t *row;
    sb_view_value_t *next; /* what columns become, where writes says so */
    bool *writes;
    sb_buf_t *scratch;
} sb_view_call_t;

typedef enum sb_view_called {
    SB_VIEW_CALL_NOTHING, /* the row stays as it is */
    SB_VIEW_CALL_WRITES,
    SB_VIEW_CALL_REMOVES,
    SB_VIEW_CALL_PARKS
} sb_view_called_t;

/* Calls the function. problem gets the words for SB_VIEW_CALL_PARKS. Not SB_OK: the view stands still; no
 * memory, or a bug of the function's (SB_UNSUPPORTED). */
SB_MUST_CHECK sb_code_t sb_view_call_run(sb_view_call_t *call, const sb_event_t *event,
                                         sb_view_called_t *called, sb_error_t *problem, sb_error_t *err);

#endif
