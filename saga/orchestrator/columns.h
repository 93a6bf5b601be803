/* columns - the rows of a batch as binary arrays, one array a column, and the pipeline that writes them.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_COLUMNS_H
#define SB_SAGA_COLUMNS_H

#include "base/lease.h"
#include "saga/orchestrator/batch.h"

SB_MUST_CHECK sb_code_t sb_columns_new(sb_columns_t **out, sb_error_t *err);
void sb_columns_free(sb_columns_t **columns);
void sb_columns_reset(sb_columns_t *columns);

void sb_columns_add_event(sb_columns_t *columns, const sb_touch_t *touch, int version, int64_t at_us,
                          int type_no, sb_slice_t data);
/* The row of a new saga, in the state it has after the run. */
void sb_columns_add_saga(sb_columns_t *columns, const sb_touch_t *touch, const sb_call_t *call,
                         int64_t now_us);
/* The searchable part of a saga's row. */
void sb_columns_add_update(sb_columns_t *columns, const sb_touch_t *touch, int64_t now_us);
void sb_columns_add_close(sb_columns_t *columns, int64_t command_no, const char *outcome);

/* What a transaction wrote. */
typedef struct sb_columns_written {
    sb_pg_result_t *inserted; /* owned; numbers of the sagas that went in; NULL: there was none to insert */
    int64_t first_seq, last_seq; /* of its events */
    size_t events;
    sb_slice_t packed; /* borrowed until the next reset (events/packed_row.h); absent: some did not go in */
    int64_t pg_us;     /* PostgreSQL's clock */
} sb_columns_written_t;

/* One transaction: the guard, then what there is. on_sent is called while the server is at work at it. */
SB_MUST_CHECK sb_code_t sb_columns_run(sb_columns_t *columns, sb_pg_t *pg, const sb_lease_t *lease,
                                       const sb_lease_move_t *move, void (*on_sent)(void *context),
                                       void *context, sb_columns_written_t *written, sb_error_t *err);

#endif
