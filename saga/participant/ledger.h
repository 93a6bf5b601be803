/* ledger - what the commands of one batch have come to: looked up at its beginning, written at its end.
 *
 * It has a row for each command, and for each undo one of its forward command. In between it is in memory
 * alone: what a command came to is known to those behind it in the batch, and to nobody else before the end.
 * The end is an insert that fails when somebody else has written one of the rows meanwhile, and waits for one
 * who is about to.
 *
 * Thread: the batch's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_LEDGER_H
#define SB_SAGA_LEDGER_H

#include "base/pg.h"
#include "sagabus/participant.h"

typedef enum sb_known { SB_KNOWN_NOTHING, SB_KNOWN_SUCCESS, SB_KNOWN_FAILURE, SB_KNOWN_VOIDED } sb_known_t;

sb_known_t sb_known_of(sb_slice_t outcome); /* the column's text */

typedef struct sb_ledger_row {
    sb_uuid_t id;
    const sb_command_t *command; /* who names saga and step: itself, or its undo; borrowed */
    bool undo;
    bool is_new; /* to be written */
    sb_known_t known;
    size_t reply_at, reply_len, error_at, error_len; /* in bytes */
} sb_ledger_row_t;

enum { SB_LEDGER_COLUMNS = 7 };

typedef struct sb_ledger {
    sb_ledger_row_t *row; /* in order of id: batches that share commands wait for one another in one order */
    int count, cap;
    sb_buf_t bytes; /* replies and errors */
    sb_pg_array_t column[SB_LEDGER_COLUMNS];
} sb_ledger_t;

void sb_ledger_init(sb_ledger_t *ledger);
void sb_ledger_fini(sb_ledger_t *ledger);

/* Begins with these commands, borrowed until the next reset; of none of them anything is known. */
SB_MUST_CHECK sb_code_t sb_ledger_list(sb_ledger_t *ledger, const sb_command_t *const *commands, int count,
                                       sb_error_t *err);
void sb_ledger_reset(sb_ledger_t *ledger);

/* The parameter of barrier_look, and what that gave. */
void sb_ledger_ask(sb_ledger_t *ledger, sb_pg_params_t *params);
void sb_ledger_take(sb_ledger_t *ledger, const sb_pg_result_t *result);

/* NULL: not of this batch. Good until the reset. */
sb_ledger_row_t *sb_ledger_find(const sb_ledger_t *ledger, const sb_uuid_t *id);
/* Good until the next learn. */
sb_slice_t sb_ledger_reply(const sb_ledger_t *ledger, const sb_ledger_row_t *row);
sb_slice_t sb_ledger_error(const sb_ledger_t *ledger, const sb_ledger_row_t *row);

/* What this one came to, to be written at the end. Copies. */
void sb_ledger_learn(sb_ledger_t *ledger, sb_ledger_row_t *row, sb_known_t known, sb_slice_t reply,
                     sb_slice_t error);

/* The parameters of barrier_write; *rows is how many rows that writes. Borrowed until the reset. */
SB_MUST_CHECK sb_code_t sb_ledger_fill(sb_ledger_t *ledger, sb_pg_params_t *params, int *rows,
                                       sb_error_t *err);

#endif
