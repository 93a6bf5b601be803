/* barrier - lets a command's effect happen once, and never after its undo.
 *
 * Everything runs in one transaction at READ COMMITTED, in the schema that search_path names. A command's row
 * and its effect are committed together or not at all, and a command has one row, so it has one effect.
 *
 * Commands have their turns in order: enter, then (with SB_BARRIER_RUN) the handler, then keep or forget.
 * What a turn finds is as if the commands had come one by one: an undo sees what the forward command before
 * it in the batch came to, and a forward command behind its undo is voided.
 *
 * At once, which is how a batch goes as a rule: sb_barrier_begin looks up all rows, sb_barrier_commit writes
 * the new ones with their answers, two round trips beside the handlers. Somebody else may have one of the
 * commands in hand meanwhile (a member of the group that has lost its partition and does not know it yet, its
 * undo at another's). Then the write waits for them, and if they commit it fails with SB_CONFLICT and nothing
 * of the batch has come to be. It is for the caller to roll back and have the commands again one by one.
 *
 * One by one: a command's row is inserted first and looked at second, at its turn. The insert waits for a
 * transaction that has the same command in hand, and a handler does not begin before that has ended.
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
#include "saga/participant/ledger.h"
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

typedef struct sb_barrier {
    sb_pg_t *pg; /* borrowed */
    bool savepoints;
    bool release; /* of the last savepoint: it goes out with the next statement */
    bool at_once;
    sb_ledger_t ledger; /* at once: the commands' rows */
} sb_barrier_t;

void sb_barrier_init(sb_barrier_t *barrier);
void sb_barrier_fini(sb_barrier_t *barrier);

void sb_barrier_answer_init(sb_barrier_answer_t *answer);
void sb_barrier_answer_fini(sb_barrier_answer_t *answer);

/* Begins the transaction on pg, which has none open. With commands, which are borrowed until commit or
 * rollback, it is for these and at once; with none, for any and one by one. On failure the transaction may be
 * open. */
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

/* Writes what was put off and commits. At once, SB_CONFLICT: somebody else has had one of the commands; the
 * transaction is open, and only a rollback will do. */
SB_MUST_CHECK sb_code_t sb_barrier_commit(sb_barrier_t *barrier, sb_error_t *err);
/* Best effort; what was put off is dropped. */
void sb_barrier_rollback(sb_barrier_t *barrier);

#endif
