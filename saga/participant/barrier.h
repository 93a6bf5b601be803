/* barrier - lets a command's effect happen once, and never after its undo.
 *
 * Everything runs in one transaction at READ COMMITTED, in the schema that search_path names. A command's row
 * is inserted first and looked at second: the insert waits for a transaction that has the same command in
 * hand, which a look-up would not.
 *
 * A batch of commands pays two round trips beside its handlers: sb_barrier_begin enters the rows of all of
 * them, sb_barrier_commit keeps their answers. In between each has its turn, in order: enter, then (with
 * SB_BARRIER_RUN) the handler, then keep or forget. What a turn finds is as if the rows had been entered one
 * by one: an undo sees what the forward command before it in the batch came to, and a forward command behind
 * its undo is voided.
 *
 * With savepoints each handler is between two, a round trip more, and what it wrote is taken back when it
 * does not succeed. Without, the caller sees to it that a handler which did not succeed wrote nothing, and
 * else rolls back and begins the batch anew with them.
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

typedef struct sb_barrier_row sb_barrier_row_t;

/* What one transaction did ahead of its commands and what they put off: their answers, and the release of the
 * savepoint, which goes out with the next one. */
typedef struct sb_barrier {
    sb_pg_t *pg; /* borrowed */
    bool savepoints;
    bool release;
    sb_barrier_row_t *row; /* entered ahead, in order of id */
    int row_count, row_cap;
    sb_pg_array_t column[5]; /* of the rows, on their way */
    sb_pg_array_t undone;    /* forward commands of undos among them */
    sb_pg_array_t kept[4];   /* answers: id, outcome, reply, error */
} sb_barrier_t;

void sb_barrier_init(sb_barrier_t *barrier);
void sb_barrier_fini(sb_barrier_t *barrier);

void sb_barrier_answer_init(sb_barrier_answer_t *answer);
void sb_barrier_answer_fini(sb_barrier_answer_t *answer);

/* Begins the transaction on pg, which has none open, and enters the rows of these commands, which are
 * borrowed until commit or rollback. A command that is not among them is entered at its turn. On failure the
 * transaction may be open. */
SB_MUST_CHECK sb_code_t sb_barrier_begin(sb_barrier_t *barrier, sb_pg_t *pg, bool savepoints,
                                         const sb_command_t *const *commands, int count, sb_error_t *err);

/* forward_completed: an undo whose forward command is known to have succeeded. Such an undo without a forward
 * row is answered with an error: this barrier has lost its memory, or was never asked. With SB_BARRIER_RUN
 * the transaction stands in the savepoint `handler` if there are savepoints, which keep and forget end. */
SB_MUST_CHECK sb_code_t sb_barrier_enter(sb_barrier_t *barrier, const sb_command_t *command,
                                         bool forward_completed, sb_barrier_verdict_t *verdict,
                                         sb_barrier_answer_t *answer, sb_error_t *err);

/* Keeps the handler's answer: success with what it wrote, failure without. */
SB_MUST_CHECK sb_code_t sb_barrier_keep(sb_barrier_t *barrier, const sb_command_t *command,
                                        const sb_barrier_answer_t *answer, sb_error_t *err);

/* Takes the row back, and what the handler wrote: the next try runs it again. */
SB_MUST_CHECK sb_code_t sb_barrier_forget(sb_barrier_t *barrier, const sb_command_t *command,
                                          sb_error_t *err);

/* Writes what was put off and commits. */
SB_MUST_CHECK sb_code_t sb_barrier_commit(sb_barrier_t *barrier, sb_error_t *err);
/* Best effort; what was put off is dropped. */
void sb_barrier_rollback(sb_barrier_t *barrier);

#endif
