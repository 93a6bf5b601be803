/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/forecast.h"

/* Each turn ends a command, and a step has one forward and one undo at most, and that again when it is gone
 * back over. */
#define TURNS_MAX (8 * SB_STEPS_MAX)

typedef struct play {
    const sb_definition_t *definition;
    sb_saga_state_t state;
    int64_t now_us;
    sb_decision_t decision;
} play_t;

static bool feed(play_t *play, const sb_saga_input_t *input)
{
    sb_saga_state_t after;
    sb_machine_decide(play->definition, &play->state, input, play->now_us, &play->decision, &after);
    if (!play->decision.refused)
        play->state = after;
    return !play->decision.refused;
}

static bool is_open(const sb_step_state_t *step)
{
    return step->status == SB_STEP_DISPATCHED || step->status == SB_STEP_COMPENSATING;
}

static int first_open(const sb_saga_state_t *state, int count)
{
    for (int i = 0; i < count; i++)
        if (is_open(&state->step[i]))
            return i;
    return -1;
}

static void answer(play_t *play, int step, sb_outcome_t outcome)
{
    const sb_step_state_t *st = &play->state.step[step];
    (void)feed(play, &(sb_saga_input_t){
                         .kind = SB_SAGA_IN_REPLY,
                         .step = step,
                         .direction = st->status == SB_STEP_COMPENSATING ? SB_COMPENSATE : SB_FORWARD,
                         .round = st->round,
                         .outcome = outcome,
                         .result = SB_SLICE("{}"),
                     });
}

static void note(sb_forecast_t *out, int step, sb_direction_t direction)
{
    for (int i = 0; i < out->count; i++)
        if (out->step[i] == step && out->direction[i] == direction)
            return;
    if (out->count == SB_STEPS_MAX)
        return;
    out->step[out->count] = step;
    out->direction[out->count++] = direction;
}

/* Commands that are out after the last turn, as far as they are wanted. */
static void note_open(const play_t *play, bool undos_only, sb_forecast_t *out)
{
    for (int i = 0; i < play->definition->step_count; i++) {
        sb_step_status_t status = play->state.step[i].status;
        if (status == SB_STEP_COMPENSATING)
            note(out, i, SB_COMPENSATE);
        else if (status == SB_STEP_DISPATCHED && !undos_only)
            note(out, i, SB_FORWARD);
    }
}

static void succeed_to_the_end(play_t *play, bool undos_only, sb_forecast_t *out)
{
    for (int turn = 0; turn < TURNS_MAX && !sb_saga_is_over(&play->state); turn++) {
        note_open(play, undos_only, out);
        int step = first_open(&play->state, play->definition->step_count);
        if (step >= 0)
            answer(play, step, SB_OUTCOME_SUCCESS);
        else if (!feed(play, &(sb_saga_input_t){.kind = SB_SAGA_IN_RETRY, .step = -1}))
            break;
    }
    out->end = play->state.status;
}

static void begin(play_t *play, const sb_definition_t *definition, const sb_saga_state_t *state,
                  int64_t now_us, sb_forecast_t *out)
{
    *out = (sb_forecast_t){.end = state->status};
    *play = (play_t){.definition = definition, .state = *state, .now_us = now_us};
    if (state->paused)
        (void)feed(play, &(sb_saga_input_t){.kind = SB_SAGA_IN_RESUME, .step = -1});
}

void sb_forecast_success(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                         sb_forecast_t *out)
{
    play_t play;
    begin(&play, definition, state, now_us, out);
    succeed_to_the_end(&play, false, out);
}

void sb_forecast_failure(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                         sb_forecast_t *out)
{
    play_t play;
    begin(&play, definition, state, now_us, out);
    for (int i = 0; i < definition->step_count; i++)
        if (play.state.step[i].status == SB_STEP_DISPATCHED)
            answer(&play, i, SB_OUTCOME_FAILURE);
    out->end = play.state.status;
    if (play.state.status == SB_SAGA_COMPENSATING)
        succeed_to_the_end(&play, true, out);
}

bool sb_forecast_accepts(const sb_definition_t *definition, const sb_saga_state_t *state,
                         sb_saga_input_kind_t verb, int64_t now_us)
{
    play_t play = {.definition = definition, .state = *state, .now_us = now_us};
    if (verb != SB_SAGA_IN_SKIP && verb != SB_SAGA_IN_REWIND)
        return feed(&play, &(sb_saga_input_t){.kind = verb, .step = -1});
    for (int i = 0; i < definition->step_count; i++)
        if (feed(&play, &(sb_saga_input_t){.kind = verb, .step = i, .result = SB_SLICE("{}")}))
            return true;
    return false;
}
