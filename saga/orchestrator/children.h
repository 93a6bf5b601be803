/* children - steps that are sagas: a participant that lives in the orchestrator.
 *
 * A command to it, as to any other, may come again under its id at any time, and has one effect: the child is
 * started under a key made of the parent, the step and the round (saga/child_key.h), which is one saga for
 * ever. Then its row is looked at until it has ended, and its end is handed to the parent as a reply. A child
 * that runs here is known to have ended at once; one of another instance's shard is asked after twice a
 * second. So nothing here needs to outlive a crash: whoever takes the parent's shard over sends its open
 * commands again.
 *
 * An undo starts the child too, as void, so that a start that is still under way somewhere finds its key
 * taken; then the child's owner is told to undo it (verb `undo` in saga_command, whose transaction is the
 * owner's) and it is waited for until it is compensated. The same is done while the parent turns back with
 * the step still out: so a cancel and a deadline reach the child.
 *
 * A child that refuses its undo (its pivot is done: a version with one came after the parent had started) is
 * asked again, ever more seldom, in sight of an operator.
 *
 * While a child runs the machine is told `pending`, so that the step's time does not run out.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_CHILDREN_H
#define SB_SAGA_CHILDREN_H

#include "saga/orchestrator/open_saga.h"
#include "saga/orchestrator/orchestrator.h"

typedef struct sb_child sb_child_t;

typedef struct sb_child_list {
    sb_child_t *first;
    sb_child_t *last;
} sb_child_list_t;

typedef struct sb_children {
    sb_child_list_t due;     /* something is to be done or looked at */
    sb_child_list_t waiting; /* not before their time, which comes in this order */
} sb_children_t;

/* Takes a command of a step that is a saga. Copies. SB_NO_MEMORY. */
SB_MUST_CHECK sb_code_t sb_children_take(sb_orchestrator_t *o, int64_t parent_no,
                                         const sb_saga_order_t *order, sb_slice_t input, sb_error_t *err);

/* A saga leaves memory: nothing is waited for on its behalf. */
void sb_children_forget(sb_orchestrator_t *o, sb_open_saga_t *parent);

/* A saga turned back: its children are looked at. */
void sb_children_turned(sb_orchestrator_t *o, sb_open_saga_t *parent);

/* A saga ended here: if it is a child of one here, that one hears of it at once. */
void sb_children_ended(sb_orchestrator_t *o, const sb_open_saga_t *saga);

/* Starts, looks, undoes; what came of it becomes items. */
SB_MUST_CHECK sb_code_t sb_children_tend(sb_orchestrator_t *o, sb_error_t *err);

/* How long after an undo was asked for it is asked for again, when it had been asked for so long by then: as
 * long again, ten seconds at least and five minutes at most. An owner that refuses (the child is past its
 * pivot) is a row in saga_command each time. */
int64_t sb_children_ask_again_us(int64_t asking_us);

/* Monotonic: when something is to be done next; 0: nothing waits. */
int64_t sb_children_next_us(const sb_orchestrator_t *o);

#endif
