/* What is foretold of a saga is what the machine would do.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/forecast.h"
#include "tests/unit/machine_play.h"

#include <stdio.h>

static void feed(sb_saga_input_t input)
{
    sb_decision_t decision;
    sb_saga_state_t after;
    sb_machine_decide(&play.definition, &play.state, &input, 1, &decision, &after);
    assert_false(decision.refused);
    play.state = after;
}

static void start(void)
{
    feed((sb_saga_input_t){.kind = SB_SAGA_IN_START, .step = -1});
}

static void answer(int step, sb_outcome_t outcome)
{
    bool undo = play.state.step[step].status == SB_STEP_COMPENSATING;
    feed((sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                           .step = step,
                           .direction = undo ? SB_COMPENSATE : SB_FORWARD,
                           .round = play.state.step[step].round,
                           .outcome = outcome,
                           .result = SB_SLICE("{}"),
                           .error = SB_SLICE("no")});
}

/* "a b -c > compensated": commands in order, an undo with a minus, then how it ends. */
static void assert_foretold(const sb_forecast_t *forecast, const char *expected)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int i = 0; i < forecast->count; i++)
        sb_buf_printf(&text, "%s%s ", forecast->direction[i] == SB_COMPENSATE ? "-" : "",
                      play.definition.step[forecast->step[i]].name);
    sb_buf_printf(&text, "> %s", sb_saga_status_name(forecast->end));
    assert_string_equal(sb_buf_text(&text), expected);
    sb_buf_fini(&text);
}

static void assert_well(const char *expected)
{
    sb_forecast_t forecast;
    sb_forecast_success(&play.definition, &play.state, 2, &forecast);
    assert_foretold(&forecast, expected);
}

static void assert_failed(const char *expected)
{
    sb_forecast_t forecast;
    sb_forecast_failure(&play.definition, &play.state, 2, &forecast);
    assert_foretold(&forecast, expected);
}

static void the_way_forward_and_the_way_back(void **context)
{
    (void)context;
    play_begin(3);
    start();
    assert_well("a b c > completed");
    assert_failed("> compensated"); /* a refused first step did nothing: there is nothing to undo */
    answer(0, SB_OUTCOME_SUCCESS);
    answer(1, SB_OUTCOME_SUCCESS);
    assert_well("c > completed");
    assert_failed("-b -a > compensated");
    answer(2, SB_OUTCOME_FAILURE);
    assert_well("-b -a > compensated");
    assert_failed("-b -a > compensated");
    answer(1, SB_OUTCOME_SUCCESS);
    assert_failed("-a > compensated");
    answer(0, SB_OUTCOME_SUCCESS);
    assert_well("> compensated");
}

static void steps_side_by_side(void **context)
{
    (void)context;
    play_begin(4);
    play.definition.step[1].group = play.definition.step[2].group = 7;
    start();
    answer(0, SB_OUTCOME_SUCCESS);
    assert_well("b c d > completed");
    assert_failed("-a > compensated");
    answer(2, SB_OUTCOME_SUCCESS);
    assert_well("b d > completed");
    assert_failed("-c -a > compensated");
}

static void past_the_pivot_there_is_no_way_back(void **context)
{
    (void)context;
    play_begin(3);
    play.definition.step[1].pivot = true;
    play.definition.step[2].forward_only = true;
    start();
    answer(0, SB_OUTCOME_SUCCESS);
    assert_failed("-a > compensated"); /* a refused pivot is no point of no return */
    answer(1, SB_OUTCOME_SUCCESS);
    assert_failed("> started");
    answer(2, SB_OUTCOME_FAILURE); /* waits for an operator, who would try it again */
    assert_well("c > completed");
    assert_failed("> started");
}

static void a_paused_saga_is_resumed_first(void **context)
{
    (void)context;
    play_begin(2);
    start();
    feed((sb_saga_input_t){.kind = SB_SAGA_IN_PAUSE, .step = -1});
    assert_well("a b > completed");
}

static void verbs_that_fit(void **context)
{
    (void)context;
    play_begin(2);
    start();
    assert_true(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_CANCEL, 2));
    assert_true(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_SKIP, 2));
    assert_false(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_RESUME, 2));
    feed((sb_saga_input_t){.kind = SB_SAGA_IN_PAUSE, .step = -1});
    assert_true(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_RESUME, 2));
    assert_false(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_RETRY, 2));
    feed((sb_saga_input_t){.kind = SB_SAGA_IN_RESUME, .step = -1});
    answer(0, SB_OUTCOME_SUCCESS);
    answer(1, SB_OUTCOME_SUCCESS);
    assert_false(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_CANCEL, 2));
    assert_false(sb_forecast_accepts(&play.definition, &play.state, SB_SAGA_IN_SKIP, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_forward_and_the_way_back),
        cmocka_unit_test(steps_side_by_side),
        cmocka_unit_test(past_the_pivot_there_is_no_way_back),
        cmocka_unit_test(a_paused_saga_is_resumed_first),
        cmocka_unit_test(verbs_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
