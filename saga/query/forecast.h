/* forecast - what a saga would still do: all the way to its end, or back again if it failed now.
 *
 * It asks the machine itself: a copy of the state is fed the answers that would come, so what is foretold is
 * what would happen. Conditions (`when`) are not known in advance: a step that has one is foretold as
 * running.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_FORECAST_H
#define SB_SAGA_FORECAST_H

#include "saga/machine.h"

typedef struct sb_forecast {
    sb_saga_status_t end; /* what it comes to */
    int count;
    int step[SB_STEPS_MAX]; /* whose commands are out or will be, in the order of their going out */
    sb_direction_t direction[SB_STEPS_MAX];
} sb_forecast_t;

/* If every command that is out and every later one succeeds. A paused saga is resumed, one that waits for an
 * operator is tried again. */
void sb_forecast_success(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                         sb_forecast_t *out);

/* If every forward command that is out were refused now, and every undo succeeds. Undos only are listed;
 * none, and an end of SB_SAGA_STARTED, when the saga would not turn back: it is past its pivot, and a refusal
 * waits for an operator. */
void sb_forecast_failure(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                         sb_forecast_t *out);

/* Whether an operator's verb would be taken in this state. */
bool sb_forecast_accepts(const sb_definition_t *definition, const sb_saga_state_t *state,
                         sb_saga_input_kind_t verb, int64_t now_us);

#endif
