/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine_internal.h"
#include "tests/sim/explorer.h"
#include "tests/support/assert.h"

#include <stdio.h>

#define CLOCK                                                                                                \
    ",\"timeout\":\"10ms\",\"retry\":{\"shape\":\"fixed\",\"attempts\":2,\"delay\":\"10ms\",\"jitter\":"     \
    "false}"
#define ENDLESS ",\"timeout\":\"10ms\",\"retry\":{\"shape\":\"fixed\",\"delay\":\"10ms\",\"jitter\":false}"
#define UNDO                                                                                                 \
    ",\"compensation\":\"undo\",\"undo_retry\":{\"shape\":\"fixed\",\"delay\":\"10ms\",\"jitter\":false}"
#define STEP(name, more) "{\"name\":\"" name "\",\"participant\":\"p\",\"action\":\"do\"" more "}"
#define SAGA(steps)      "{\"saga\":\"s\",\"version\":1,\"deadline\":\"1h\",\"steps\":[" steps "]}"

static const model_t three_steps = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK UNDO) "," STEP("c", CLOCK UNDO)),
    .cancels = true,
    .late = true};
static const model_t nothing_to_undo = {.definition = SAGA(STEP("a", CLOCK ",\"no_effect\":true") "," STEP(
                                            "b", CLOCK UNDO) "," STEP("c", CLOCK ",\"no_effect\":true")),
                                        .cancels = true};
static const model_t pivot = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", ENDLESS ",\"pivot\":true") "," STEP("c", ENDLESS)),
    .cancels = true,
    .retries = true,
    .late = true};
static const model_t skipped_pivot = {
    .definition = SAGA(STEP("a", ENDLESS ",\"pivot\":true") "," STEP("b", ENDLESS)), .skips = true};
static const model_t group = {.definition = SAGA(STEP("a", CLOCK UNDO ",\"parallel\":\"g\"") "," STEP(
                                  "b", CLOCK UNDO ",\"parallel\":\"g\"") "," STEP("c", CLOCK UNDO)),
                              .cancels = true};
#define WHEN ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"exists\"}"
static const model_t conditions = {.definition =
                                       SAGA(STEP("a", CLOCK UNDO WHEN) "," STEP("b", CLOCK UNDO WHEN)),
                                   .cancels = true,
                                   .pauses = true,
                                   .late = true};
static const model_t fallback = {
    .definition = SAGA(STEP("a", CLOCK UNDO ",\"fallback\":{}") "," STEP("b", CLOCK UNDO ",\"fallback\":{}")),
    .cancels = true,
    .late = true};
static const model_t operators = {.definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK UNDO)),
                                  .cancels = true,
                                  .pauses = true,
                                  .retries = true,
                                  .skips = true};
static const model_t resolver = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK UNDO)), .cancels = true, .resolves = true};
static const model_t no_barrier = {.definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK UNDO)),
                                   .no_barrier = true,
                                   .cancels = true,
                                   .late = true};

static const model_t rewinds = {.definition = SAGA(STEP("a", CLOCK UNDO) "," STEP(
                                    "b", CLOCK ",\"no_effect\":true") "," STEP("c", CLOCK UNDO)),
                                .cancels = true,
                                .rewinds = true};
static const model_t rewound_group = {.definition = SAGA(STEP("a", CLOCK UNDO ",\"parallel\":\"g\"") "," STEP(
                                          "b", CLOCK UNDO WHEN ",\"parallel\":\"g\"")),
                                      .rewinds = true};
static const model_t rewound_pivot = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", ENDLESS ",\"pivot\":true")),
    .cancels = true,
    .rewinds = true};

static const model_t child = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK ",\"no_effect\":true") "," STEP(
        "c", CLOCK UNDO ",\"fallback\":{}")),
    .cancels = true,
    .undoes = true};
static const model_t paused_child = {.definition = SAGA(STEP("a", CLOCK UNDO WHEN) "," STEP("b", CLOCK UNDO)),
                                     .pauses = true,
                                     .resolves = true,
                                     .undoes = true};
static const model_t rewound_child = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", CLOCK UNDO)), .rewinds = true, .undoes = true};
static const model_t child_with_pivot = {
    .definition = SAGA(STEP("a", CLOCK UNDO) "," STEP("b", ENDLESS ",\"pivot\":true")), .undoes = true};

static walk_result_t keeps_its_promises(const model_t *model)
{
    walk_result_t result = explore(model, NULL);
    print_message("           %zu states, %zu moves; ended completed %zu, compensated %zu, failed %zu\n",
                  result.states, result.moves, result.completed, result.compensated, result.failed);
    if (result.broken)
        fail_msg("broken: %s\n%s", result.broken, result.trace);
    assert_true(result.completed > 0 && result.compensated > 0); /* it did walk */
    return result;
}

static void three_steps_hold(void **state)
{
    (void)state;
    assert_true(keeps_its_promises(&three_steps).anomalies > 0);
}

static void steps_with_nothing_to_undo_hold(void **state)
{
    (void)state;
    keeps_its_promises(&nothing_to_undo);
}

static void the_pivot_holds(void **state)
{
    (void)state;
    keeps_its_promises(&pivot);
    walk_result_t result = explore(&skipped_pivot, NULL);
    if (result.broken)
        fail_msg("broken: %s\n%s", result.broken, result.trace);
    assert_true(result.completed > 0);
}

static void groups_hold(void **state)
{
    (void)state;
    keeps_its_promises(&group);
}

static void conditions_hold(void **state)
{
    (void)state;
    keeps_its_promises(&conditions);
}

static void fallbacks_hold(void **state)
{
    (void)state;
    assert_true(keeps_its_promises(&fallback).anomalies > 0);
}

static void going_back_holds(void **state)
{
    (void)state;
    assert_true(keeps_its_promises(&rewinds).anomalies > 0);
    keeps_its_promises(&rewound_group);
    keeps_its_promises(&rewound_pivot);
}

static void a_child_can_be_undone_at_any_time(void **state)
{
    (void)state;
    keeps_its_promises(&child);
    keeps_its_promises(&paused_child);
    keeps_its_promises(&rewound_child);
    keeps_its_promises(&child_with_pivot);
}

static void operators_cannot_break_it(void **state)
{
    (void)state;
    keeps_its_promises(&operators);
    assert_true(keeps_its_promises(&resolver).failed > 0);
}

static void without_a_barrier_late_effects_are_reported(void **state)
{
    (void)state;
    assert_true(keeps_its_promises(&no_barrier).anomalies > 0);
}

/* After all walks: no row of the transition table is there for nothing. */
static void every_move_was_made(void **state)
{
    (void)state;
    sb_machine_move_t move;
    size_t rows = 0;
    for (; sb_machine_move(rows, &move); rows++)
        if (!explorer_went(move.of_saga, move.from, move.to))
            fail_msg("row %zu of the transition table was never taken: %s %s -> %s", rows,
                     move.of_saga ? "saga" : "step",
                     move.of_saga ? sb_saga_status_name((sb_saga_status_t)move.from)
                                  : sb_step_status_name((sb_step_status_t)move.from),
                     move.of_saga ? sb_saga_status_name((sb_saga_status_t)move.to)
                                  : sb_step_status_name((sb_step_status_t)move.to));
    assert_true(rows > 20);
}

/* ---- faults put in: the walk must find each, by the promise it breaks ---- */

/* A try that ran out is taken for a refusal, so nothing is undone. */
static void take_silence_for_refusal(sb_saga_state_t *state, sb_saga_input_t *input)
{
    for (int i = 0; i < SB_STEPS_MAX && input->kind == SB_SAGA_IN_TIMER; i++) {
        if (state->step[i].status == SB_STEP_DISPATCHED && !state->step[i].waiting &&
            state->step[i].attempt > 1)
            *input = (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                                       .step = i,
                                       .round = state->step[i].round,
                                       .outcome = SB_OUTCOME_FAILURE};
    }
}

/* The oldest step is undone before the newest. */
static void swap_undo(sb_saga_state_t *state)
{
    if (state->step[1].status == SB_STEP_COMPENSATING && state->step[0].status == SB_STEP_COMPLETED) {
        sb_step_state_t first = state->step[0];
        state->step[0] = state->step[1];
        state->step[1] = first;
    }
}

static void fold_oldest_first(const sb_saga_state_t *before, const sb_saga_event_t *event,
                              sb_saga_state_t *after)
{
    (void)event;
    if (before->step[1].status != SB_STEP_COMPENSATING)
        swap_undo(after);
}

static void undo_oldest_first(const sb_saga_state_t *before, const sb_saga_input_t *input,
                              sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)input;
    if (before->step[1].status == SB_STEP_COMPENSATING)
        return;
    swap_undo(after);
    for (int i = 0; i < decision->order_count && after->step[0].status == SB_STEP_COMPENSATING; i++)
        decision->order[i].step = 0;
}

/* Not all commands are sent. */
static void forget_an_undo(const sb_saga_state_t *before, const sb_saga_input_t *input,
                           sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)before, (void)input, (void)after;
    if (decision->order_count > 0 && decision->order[0].direction == SB_COMPENSATE)
        decision->order_count--;
}

/* The fold knows another clock than the decision: what a crash would bring back is not what was. */
static void fold_otherwise(const sb_saga_state_t *before, const sb_saga_event_t *event,
                           sb_saga_state_t *after)
{
    (void)before;
    if (event->kind == SB_SAGA_EV_STEP_RETRIED && event->direction == SB_COMPENSATE)
        after->step[event->step].attempt--;
}

static void have_no_compensation(sb_definition_t *definition)
{
    definition->step[0].compensation = NULL;
}

static void have_no_pivot(sb_definition_t *definition)
{
    for (int i = 0; i < definition->step_count; i++)
        definition->step[i].pivot = false;
}

/* Every reply is of the last try. */
static void forget_the_attempt(sb_saga_state_t *state, sb_saga_input_t *input)
{
    (void)state;
    input->attempt = 0;
}

/* Late answers are recorded each time they come. */
static void forget_anomalies(sb_saga_state_t *state, sb_saga_input_t *input)
{
    (void)input;
    for (int i = 0; i < SB_STEPS_MAX; i++)
        state->step[i].anomaly = false;
}

/* Late answers are not recorded at all. */
static void keep_quiet(const sb_saga_state_t *before, const sb_saga_input_t *input, sb_decision_t *decision,
                       sb_saga_state_t *after)
{
    (void)input;
    if (decision->event_count > 0 && decision->event[0].kind == SB_SAGA_EV_ANOMALY) {
        decision->event_count = 0;
        *after = *before;
    }
}

/* An ended saga takes an operator's verb. */
static void reopen(sb_saga_state_t *state, sb_saga_input_t *input)
{
    if (input->kind == SB_SAGA_IN_RESOLVE && state->status == SB_SAGA_COMPENSATED)
        state->status = SB_SAGA_COMPENSATING;
}

/* Each retry is a new command to the participant. */
static void count_rounds(const sb_saga_state_t *before, const sb_saga_input_t *input, sb_decision_t *decision,
                         sb_saga_state_t *after)
{
    (void)before, (void)input;
    for (int i = 0; i < decision->event_count; i++) {
        sb_saga_event_t *event = &decision->event[i];
        if (event->kind == SB_SAGA_EV_STEP_RETRIED)
            after->step[event->step].round = ++event->round;
    }
}

/* The clock of a waiting try is lost. */
static void lose_the_wake(const sb_saga_state_t *before, const sb_saga_input_t *input,
                          sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)before, (void)input;
    for (int i = 0; i < SB_STEPS_MAX; i++) {
        if (after->step[i].waiting)
            decision->wake_us = after->step[i].wake_us = 0;
    }
}

/* An undo that could not be done is dropped after some tries. */
static void drop_undo(sb_saga_state_t *state, sb_saga_input_t *input)
{
    if (input->kind == SB_SAGA_IN_REPLY && input->direction == SB_COMPENSATE &&
        state->step[input->step].attempt >= 3)
        input->outcome = SB_OUTCOME_SUCCESS;
}

/* What is paused stays so. */
static void never_resume(sb_saga_state_t *state, sb_saga_input_t *input)
{
    (void)state;
    if (input->kind == SB_SAGA_IN_RESUME)
        input->kind = SB_SAGA_IN_TIMER;
}

/* What a fallback stands in for is taken for what happened, which is nothing. */
static void fold_for_certain(const sb_saga_state_t *before, const sb_saga_event_t *event,
                             sb_saga_state_t *after)
{
    (void)before;
    if (event->fallback)
        after->step[event->step].was_unknown = false;
}

static void take_for_certain(const sb_saga_state_t *before, const sb_saga_input_t *input,
                             sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)input;
    for (int i = 0; i < decision->event_count; i++)
        fold_for_certain(before, &decision->event[i], after);
}

/* What is gone back over runs again as the command that was undone. */
static void fold_the_old_round(const sb_saga_state_t *before, const sb_saga_event_t *event,
                               sb_saga_state_t *after)
{
    for (int i = 0; event->kind == SB_SAGA_EV_REWOUND && i < SB_STEPS_MAX; i++) {
        sb_step_status_t was = before->step[i].status;
        if (after->step[i].status == SB_STEP_DISPATCHED && after->step[i].round > 1 &&
            (was == SB_STEP_COMPENSATING || was == SB_STEP_COMPENSATED))
            after->step[i].round--;
    }
}

static void send_the_old_round(const sb_saga_state_t *before, const sb_saga_input_t *input,
                               sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)input;
    for (int i = 0; i < decision->event_count; i++)
        fold_the_old_round(before, &decision->event[i], after);
    for (int i = 0; i < decision->order_count; i++)
        decision->order[i].round = after->step[decision->order[i].step].round;
}

/* All of it is undone, whatever was asked for. */
static void go_back_to_the_start(sb_saga_state_t *state, sb_saga_input_t *input)
{
    (void)state;
    if (input->kind == SB_SAGA_IN_REWIND)
        input->step = 0;
}

/* A saga that goes back to a step cannot be cancelled. */
static void lose_a_cancel(sb_saga_state_t *state, sb_saga_input_t *input)
{
    if (input->kind == SB_SAGA_IN_CANCEL && state->rewind_to >= 0)
        input->kind = SB_SAGA_IN_TIMER;
}

/* What is completed stays completed, whatever becomes of the saga it is a step of. */
static void keep_a_completed_one(sb_saga_state_t *state, sb_saga_input_t *input)
{
    if (input->kind == SB_SAGA_IN_UNDO && state->status == SB_SAGA_COMPLETED)
        input->kind = SB_SAGA_IN_TIMER;
}

static void start_in_earnest(sb_saga_state_t *state, sb_saga_input_t *input)
{
    (void)state;
    input->voided = false;
}

/* Of what ended only the newest step is undone. */
static void undo_the_last_only(const sb_saga_state_t *before, const sb_saga_event_t *event,
                               sb_saga_state_t *after)
{
    if (event->kind == SB_SAGA_EV_COMPENSATING && before->status == SB_SAGA_COMPLETED &&
        after->step[0].status == SB_STEP_COMPLETED)
        after->step[0].status = SB_STEP_COMPENSATED;
}

static void decide_the_last_only(const sb_saga_state_t *before, const sb_saga_input_t *input,
                                 sb_decision_t *decision, sb_saga_state_t *after)
{
    (void)input;
    for (int i = 0; i < decision->event_count; i++)
        undo_the_last_only(before, &decision->event[i], after);
}

static const struct {
    const model_t *model;
    mutant_t mutant;
} mutants[] = {
    {&three_steps,
     {.name = "silence is a refusal",
      .breaks = "what is recorded is true",
      .before = take_silence_for_refusal}},
    {&three_steps,
     {.name = "the oldest is undone first",
      .breaks = "undone newest first",
      .decided = undo_oldest_first,
      .folded = fold_oldest_first}},
    {&three_steps,
     {.name = "an undo is not sent", .breaks = "what is due is sent", .decided = forget_an_undo}},
    {&three_steps,
     {.name = "the fold differs", .breaks = "the state is the fold of the events", .folded = fold_otherwise}},
    {&three_steps,
     {.name = "a step is not undone",
      .breaks = "compensated means all undone",
      .defined = have_no_compensation}},
    {&pivot,
     {.name = "the pivot is a step like any",
      .breaks = "no way back past the pivot",
      .defined = have_no_pivot}},
    {&three_steps,
     {.name = "old refusals count",
      .breaks = "only the last try may fail a step",
      .before = forget_the_attempt}},
    {&three_steps,
     {.name = "anomalies pile up", .breaks = "a repeat leaves no trace", .before = forget_anomalies}},
    {&no_barrier,
     {.name = "anomalies are lost", .breaks = "a late effect is reported", .decided = keep_quiet}},
    {&resolver, {.name = "an ended saga reopens", .breaks = "an end is an end", .before = reopen}},
    {&three_steps,
     {.name = "each try is a command of its own",
      .breaks = "only an operator opens a round",
      .decided = count_rounds}},
    {&three_steps,
     {.name = "a wake is lost", .breaks = "an open saga waits for something", .decided = lose_the_wake}},
    {&three_steps,
     {.name = "an undo that fails is dropped", .breaks = "what is undone is undone", .before = drop_undo}},
    {&fallback,
     {.name = "a fallback did nothing",
      .breaks = "compensated means all undone",
      .decided = take_for_certain,
      .folded = fold_for_certain}},
    {&rewinds,
     {.name = "an undone command is sent again",
      .breaks = "what was undone is not sent again",
      .decided = send_the_old_round,
      .folded = fold_the_old_round}},
    {&rewinds,
     {.name = "it goes back to the start",
      .breaks = "it goes back as far as asked",
      .before = go_back_to_the_start}},
    {&rewinds,
     {.name = "a cancel on the way back is lost",
      .breaks = "a cancel is all the way",
      .before = lose_a_cancel}},
    {&child,
     {.name = "a completed child is kept",
      .breaks = "an undo is all the way",
      .before = keep_a_completed_one}},
    {&child,
     {.name = "a void start runs", .breaks = "a void start does nothing", .before = start_in_earnest}},
    {&child,
     {.name = "a completed child is half undone",
      .breaks = "what is undone is undone",
      .decided = decide_the_last_only,
      .folded = undo_the_last_only}},
    {&conditions, {.name = "a pause is for ever", .breaks = "every saga can end", .before = never_resume}},
};

static void every_fault_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        walk_result_t result = explore(mutants[i].model, &mutants[i].mutant);
        print_message("           %-34s %s, after %zu states\n", mutants[i].mutant.name,
                      result.broken ? result.broken : "NOT FOUND", result.states);
        assert_non_null(result.broken);
        assert_string_equal(result.broken, mutants[i].mutant.breaks);
        assert_true(result.trace[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_steps_hold),
        cmocka_unit_test(steps_with_nothing_to_undo_hold),
        cmocka_unit_test(the_pivot_holds),
        cmocka_unit_test(groups_hold),
        cmocka_unit_test(conditions_hold),
        cmocka_unit_test(fallbacks_hold),
        cmocka_unit_test(going_back_holds),
        cmocka_unit_test(a_child_can_be_undone_at_any_time),
        cmocka_unit_test(operators_cannot_break_it),
        cmocka_unit_test(without_a_barrier_late_effects_are_reported),
        cmocka_unit_test(every_move_was_made),
        cmocka_unit_test(every_fault_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
