/* machine_internal - what a saga's state says, for the two halves of the machine: the fold
 * (machine_state.c) and the decision (machine.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_MACHINE_INTERNAL_H
#define SB_SAGA_MACHINE_INTERNAL_H

#include "saga/machine.h"

bool sb_step_is_done(const sb_step_state_t *st); /* completed or skipped */
bool sb_step_is_open(const sb_step_state_t *st); /* a command is out, or between two tries */
bool sb_step_is_out(const sb_step_state_t *st);
sb_direction_t sb_step_direction(const sb_step_state_t *st);

bool sb_state_any_open(const sb_definition_t *definition, const sb_saga_state_t *state);

/* Whether the step is tried until it is known how it ended. */
bool sb_state_is_endless(const sb_definition_t *definition, const sb_saga_state_t *state, int step);

/* The steps whose turn it is: from the first that is not done, to the end of its group. */
void sb_state_front(const sb_definition_t *definition, const sb_saga_state_t *state, int *from, int *end);

/* The newest step that is to be undone; -1: none. */
int sb_state_next_undo(const sb_definition_t *definition, const sb_saga_state_t *state);

/* Whether it may turn back. Not once the pivot is out: whether there is a way back is then for the
 * participant to say. */
bool sb_state_can_turn(const sb_definition_t *definition, const sb_saga_state_t *state);

int64_t sb_state_try_ends_us(const sb_definition_t *definition, int step, int64_t now_us);
int64_t sb_state_deadline_us(const sb_definition_t *definition, const sb_saga_state_t *state);
int64_t sb_state_next_wake_us(const sb_definition_t *definition, const sb_saga_state_t *state); /* 0: none */

/* One row of the transition table; false: there are no more. For whoever asks whether all of it is reached.
 */
typedef struct sb_machine_move {
    bool of_saga; /* else of a step */
    int from;
    int to;
} sb_machine_move_t;
bool sb_machine_move(size_t row, sb_machine_move_t *out);

#endif
