/* barrier - lets a command's effect happen once, and never after its undo.
 *
 * Everything runs in the caller's open transaction, which must have been begun at READ COMMITTED (the
 * participant does), in the schema that search_path names. sb_barrier_enter inserts first and looks second:
 * the insert waits for a transaction that has the same command in hand, which a look-up would not.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_BARRIER_H
#define SB_SAGA_BARRIER_H

#include "base/pg.h"
#include "sagabus/participant.h"

typedef enum sb_barrier_verdict {
    SB_BARRIER_RUN,     /* run the handler, then sb_barrier_keep or sb_barrier_forget */
    SB_BARRIER_ANSWERED /* do not run it: the answer is in *answer */
} sb_barrier_verdict_t;

typedef struct sb_barrier_answer {
    sb_reply_outcome_t outcome;
    sb_buf_t result; /* JSON; empty: {} */
    sb_buf_t error;
} sb_barrier_answer_t;

/* What commands of one transaction put off, so that each costs one round trip beside its handler: the release
 * of the savepoint, which goes out with the next command's row, and the answers of those that succeeded,
 * which sb_barrier_flush writes together before the commit. */
typedef struct sb_barrier_later {
    bool release;
    sb_pg_array_t id, reply;
} sb_barrier_later_t;

void sb_barrier_later_init(sb_barrier_later_t *later);
void sb_barrier_later_reset(sb_barrier_later_t *later); /* after a rollback */
void sb_barrier_later_fini(sb_barrier_later_t *later);
/* Writes what was put off; the transaction may be committed then. */
SB_MUST_CHECK sb_code_t sb_barrier_flush(sb_pg_t *pg, sb_barrier_later_t *later, sb_error_t *err);

void sb_barrier_answer_init(sb_barrier_answer_t *answer);
void sb_barrier_answer_fini(sb_barrier_answer_t *answer);

/* forward_completed: an undo whose forward command is known to have succeeded. Such an undo without a forward
 * row is answered with an error: this barrier has lost its memory, or was never asked. With SB_BARRIER_RUN
 * the transaction stands in the savepoint `handler`, which keep and forget end. */
SB_MUST_CHECK sb_code_t sb_barrier_enter(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                                         bool forward_completed, sb_barrier_verdict_t *verdict,
                                         sb_barrier_answer_t *answer, sb_error_t *err);

/* Keeps the handler's answer: success with what it wrote, failure without. */
SB_MUST_CHECK sb_code_t sb_barrier_keep(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                                        const sb_barrier_answer_t *answer, sb_error_t *err);

/* Takes the row back, and what the handler wrote: the next try runs it again. */
SB_MUST_CHECK sb_code_t sb_barrier_forget(sb_pg_t *pg, const sb_command_t *command, sb_error_t *err);

#endif
