/* Each test is a play: what comes in, when, and the line that must come of it:
 *   events (type without "saga.", step, details) > orders > the next wake, in ms
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine.h"
#include "tests/support/assert.h"

#include <stdio.h>

#define MS 1000

typedef struct play {
    sb_definition_t definition;
    sb_saga_state_t state;
    sb_decision_t decision;
    uint32_t skip_mask;
} play_t;

static play_t play; /* large, and one at a time */

static const char *const names[] = {"a", "b", "c", "d"};

/* n steps that can be undone; tries last 10 ms, two of them 5 ms apart, undos again after 20 ms. */
static void begin(int steps)
{
    memset(&play, 0, sizeof play);
    play.definition.name = "s";
    play.definition.step_count = steps;
    for (int i = 0; i < steps; i++)
        play.definition.step[i] = (sb_step_definition_t){.name = names[i],
                                                         .participant = "p",
                                                         .action = "do",
                                                         .compensation = "undo",
                                                         .group = -1,
                                                         .timeout_ms = 10,
                                                         .retry = {SB_RETRY_FIXED, 2, 5, 5, false},
                                                         .undo_retry = {SB_RETRY_FIXED, 0, 20, 20, false}};
    sb_saga_state_init(&play.state);
}

static void make_pivot(int step)
{
    play.definition.step[step].pivot = true;
    for (int i = step + 1; i < play.definition.step_count; i++)
        play.definition.step[i].forward_only = true;
}

static const char *name_of(int step)
{
    return step < 0 ? "" : names[step];
}

static void tell_event(const sb_saga_event_t *event, sb_buf_t *out)
{
    sb_buf_printf(out, "%s%s", out->len > 0 ? ", " : "", sb_saga_event_type(event->kind) + strlen("saga."));
    if (event->step >= 0)
        sb_buf_printf(out, " %s", name_of(event->step));
    if (event->direction == SB_COMPENSATE && event->kind != SB_SAGA_EV_STEP_COMPENSATED)
        sb_buf_add_text(out, " undo");
    if (event->kind == SB_SAGA_EV_STEP_RETRIED)
        sb_buf_printf(out, " %d.%d at %d", event->round, event->attempt, (int)(event->wake_us / MS));
    if (event->kind == SB_SAGA_EV_STEP_FAILED && event->unknown)
        sb_buf_add_text(out, " unknown");
    if (event->fallback)
        sb_buf_add_text(out, " fallback");
    if (event->pause)
        sb_buf_add_text(out, " and waits");
}

static void tell(const sb_decision_t *decision, sb_buf_t *out)
{
    if (decision->refused)
        sb_buf_printf(out, "refused: %s", decision->refusal);
    for (int i = 0; i < decision->event_count; i++)
        tell_event(&decision->event[i], out);
    for (int i = 0; i < decision->order_count; i++) {
        const sb_saga_order_t *order = &decision->order[i];
        sb_buf_printf(out, " > %s %s %d.%d%s", order->direction == SB_FORWARD ? "do" : "undo",
                      name_of(order->step), order->round, order->attempt,
                      order->forward_unknown ? " unknown" : "");
        assert_true(order->deadline_us > 0);
    }
    if (decision->wake_us)
        sb_buf_printf(out, " > %d", (int)(decision->wake_us / MS));
}

static void assert_told(const sb_decision_t *decision, const char *want)
{
    sb_buf_t told = SB_BUF_INIT;
    tell(decision, &told);
    assert_string_equal(sb_buf_text(&told), want);
    sb_buf_fini(&told);
}

static void gives(int at_ms, sb_saga_input_t input, const char *want)
{
    sb_saga_state_t after, folded = play.state;
    input.skip_mask = play.skip_mask;
    sb_machine_decide(&play.definition, &play.state, &input, (int64_t)at_ms * MS, &play.decision, &after);
    assert_told(&play.decision, want);
    for (int i = 0; i < play.decision.event_count; i++)
        assert_int_equal(sb_machine_evolve(&play.definition, &folded, &play.decision.event[i], NULL), SB_OK);
    assert_true(sb_saga_state_equal(&folded, &after));
    play.state = after;
}

static void start(int at_ms, const char *want)
{
    gives(at_ms, (sb_saga_input_t){.kind = SB_SAGA_IN_START}, want);
}

static void timer(int at_ms, const char *want)
{
    gives(at_ms, (sb_saga_input_t){.kind = SB_SAGA_IN_TIMER}, want);
}

static void verb(int at_ms, sb_saga_input_kind_t kind, int step, const char *want)
{
    gives(at_ms,
          (sb_saga_input_t){.kind = kind, .step = step, .by = SB_SLICE("ann"), .reason = SB_SLICE("because")},
          want);
}

static sb_saga_input_t reply(sb_direction_t direction, int step, sb_outcome_t outcome)
{
    return (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                             .step = step,
                             .direction = direction,
                             .round = play.state.step[step].round,
                             .outcome = outcome,
                             .result = SB_SLICE("{}"),
                             .error = outcome == SB_OUTCOME_SUCCESS ? SB_SLICE_NONE : SB_SLICE("no")};
}

static void done(int at_ms, int step, const char *want)
{
    gives(at_ms, reply(SB_FORWARD, step, SB_OUTCOME_SUCCESS), want);
}

static void refused(int at_ms, int step, const char *want)
{
    gives(at_ms, reply(SB_FORWARD, step, SB_OUTCOME_FAILURE), want);
}

static void error(int at_ms, int step, const char *want)
{
    gives(at_ms, reply(SB_FORWARD, step, SB_OUTCOME_ERROR), want);
}

static void undone(int at_ms, int step, const char *want)
{
    gives(at_ms, reply(SB_COMPENSATE, step, SB_OUTCOME_SUCCESS), want);
}

static void not_undone(int at_ms, int step, const char *want)
{
    gives(at_ms, reply(SB_COMPENSATE, step, SB_OUTCOME_ERROR), want);
}

/* ---- forward ---- */

static void three_steps_are_five_events(void **state)
{
    (void)state;
    begin(3);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    done(3, 2, "step.completed c, completed");
    assert_int_equal(play.state.version, 5);
    assert_int_equal(play.state.status, SB_SAGA_COMPLETED);
    start(4, "refused: it has started already");
}

static void a_try_that_runs_out_is_tried_again(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    timer(9, " > 10");
    timer(10, "step.retried a 1.2 at 15 > 15");
    timer(12, " > 15");
    timer(16, " > do a 1.2 > 26");
    timer(17, " > 26");
    done(18, 0, "step.completed a > do b 1.1 > 28");
}

static void an_error_is_tried_again_and_then_unknown(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    error(2, 1, "step.retried b 1.2 at 7 > 7");
    error(3, 1, " > 7"); /* the same again, while it waits */
    timer(7, " > do b 1.2 > 17");
    error(8, 1, "step.failed b unknown > undo b 1.1 unknown > 18");
    assert_int_equal(play.state.failed_step, 1);
    undone(9, 1, "step.compensated b > undo a 1.1 > 19");
    undone(10, 0, "step.compensated a, compensated");
}

static void the_answer_of_an_earlier_try_counts_while_it_waits(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.retried a 1.2 at 15 > 15");
    done(11, 0, "step.completed a > do b 1.1 > 21");
    timer(15, " > 21");
}

static void only_the_last_try_may_fail_a_step(void **state)
{
    (void)state;
    begin(1);
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.retried a 1.2 at 15 > 15");
    timer(15, " > do a 1.2 > 25");
    sb_saga_input_t late = reply(SB_FORWARD, 0, SB_OUTCOME_FAILURE);
    late.attempt = 1;
    gives(16, late, " > 25");
    late.outcome = SB_OUTCOME_ERROR;
    gives(17, late, " > 25");
    late.attempt = 2;
    late.outcome = SB_OUTCOME_FAILURE;
    gives(18, late, "step.failed a, compensated");
}

static sb_saga_input_t set_up_wrong(int step)
{
    sb_saga_input_t input = reply(SB_FORWARD, step, SB_OUTCOME_ERROR);
    input.attention = true;
    return input;
}

/* A wrong address or password does not mend itself: turning back for it would undo good work, and trying fast
 * would only fill the history. */
static void what_an_operator_must_look_at_is_tried_on(void **state)
{
    (void)state;
    begin(1);
    start(0, "started > do a 1.1 > 10");
    gives(1, set_up_wrong(0), "step.retried a 1.2 at 5001, attention a > 5001");
    assert_true(play.state.attention);
    timer(5001, " > do a 1.2 > 5011");
    gives(5002, set_up_wrong(0),
          "step.retried a 1.3 at 10002 > 10002"); /* past the two tries of its policy */
    verb(6000, SB_SAGA_IN_RETRY, 0, "step.retried a 1.3 at 6000 > do a 1.3 > 6010");
    done(6001, 0, "step.completed a, completed");
    assert_false(play.state.attention);
}

/* It turns back by itself: nobody has to act any more. */
static void a_refusal_ends_the_call_for_attention(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    gives(2, set_up_wrong(1), "step.retried b 1.2 at 5002, attention b > 5002");
    assert_true(play.state.attention);
    refused(3, 1, "step.failed b > undo a 1.1 > 13");
    assert_false(play.state.attention);
}

/* Once the saga turns back, what is out is not tried again, whatever it says. */
static void turning_back_does_not_wait_for_an_operator(void **state)
{
    (void)state;
    begin(1);
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_CANCEL, -1, "compensating > 10");
    gives(2, set_up_wrong(0), "step.failed a unknown > undo a 1.1 unknown > 12");
}

static void who_still_works_is_given_time(void **state)
{
    (void)state;
    begin(1);
    start(0, "started > do a 1.1 > 10");
    gives(8, reply(SB_FORWARD, 0, SB_OUTCOME_PENDING), " > 18");
    timer(10, " > 18");
    timer(18, "step.retried a 1.2 at 23 > 23");
    gives(19, reply(SB_FORWARD, 0, SB_OUTCOME_PENDING), " > 23");
}

static void a_group_runs_side_by_side(void **state)
{
    (void)state;
    begin(4);
    play.definition.step[1].group = play.definition.step[2].group = 1;
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > do c 1.1 > 11");
    done(2, 2, "step.completed c > 11");
    done(3, 1, "step.completed b > do d 1.1 > 13");
    refused(4, 3, "step.failed d > undo c 1.1 > 14");
}

static void a_group_turns_back_when_all_of_it_is_known(void **state)
{
    (void)state;
    begin(3);
    play.definition.step[0].group = play.definition.step[1].group = play.definition.step[2].group = 0;
    start(0, "started > do a 1.1 > do b 1.1 > do c 1.1 > 10");
    error(1, 2, "step.retried c 1.2 at 6 > 6");
    refused(2, 0, "step.failed a, step.failed c unknown > 10"); /* b is out: what it did is not known yet */
    done(3, 1, "step.completed b > undo c 1.1 unknown > 13");
    undone(4, 2, "step.compensated c > undo b 1.1 > 14");
    undone(5, 1, "step.compensated b, compensated");
}

static void what_is_out_when_it_turns_is_not_tried_again(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
}

static void conditions_choose_the_steps(void **state)
{
    (void)state;
    begin(4);
    for (int i = 0; i < 3; i++)
        play.definition.step[i].when = (sb_condition_t *)&play; /* only whether there is one is read */
    play.skip_mask = 5;
    start(0, "started, step.skipped a, step.dispatched b > do b 1.1 > 10");
    done(1, 1, "step.completed b, step.skipped c > do d 1.1 > 11");
    refused(2, 3, "step.failed d > undo b 1.1 > 12");
    undone(3, 1, "step.compensated b, compensated");
    begin(1);
    play.definition.step[0].when = (sb_condition_t *)&play;
    play.skip_mask = 1;
    start(0, "started, step.skipped a, completed");
}

/* ---- back ---- */

static void a_refusal_undoes_newest_first(void **state)
{
    (void)state;
    begin(3);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    refused(3, 2, "step.failed c > undo b 1.1 > 13");
    undone(4, 1, "step.compensated b > undo a 1.1 > 14");
    undone(5, 0, "step.compensated a, compensated");
    assert_int_equal(play.state.failed_step, 2);
}

static void nothing_to_undo_ends_at_once(void **state)
{
    (void)state;
    begin(2);
    play.definition.step[0].compensation = NULL;
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    refused(2, 1, "step.failed b, compensated");
}

static void an_undo_is_tried_for_ever_in_sight(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    not_undone(11, 0, "step.retried a undo 1.2 at 31 > 31");
    timer(31, " > undo a 1.2 unknown > 41");
    timer(41, "step.retried a undo 1.3 at 61 > 61");
    timer(61, " > undo a 1.3 unknown > 71");
    timer(71, "step.retried a undo 1.4 at 91 > 91");
    timer(91, " > undo a 1.4 unknown > 101");
    timer(101, "step.retried a undo 1.5 at 121 > 121");
    assert_false(play.state.attention);
    timer(121, " > undo a 1.5 unknown > 131");
    timer(131, "step.retried a undo 1.6 at 252, attention a undo > 252"); /* as long again as it has waited */
    assert_true(play.state.attention);
    timer(252, " > undo a 1.6 unknown > 262");
    timer(262, "step.retried a undo 1.7 at 514 > 514"); /* it calls once */
    verb(300, SB_SAGA_IN_RETRY, 0, "step.retried a undo 1.7 at 300 > undo a 1.7 unknown > 310");
    not_undone(301, 0, "step.retried a undo 1.8 at 321 > 321"); /* an answer: by the policy */
    timer(321, " > undo a 1.8 unknown > 331");
    timer(1000010, "step.retried a undo 1.9 at 1300010 > 1300010");
    undone(1000020, 0, "step.compensated a, compensated");
    assert_false(play.state.attention);
}

static void an_undo_that_is_refused_calls_at_once(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    refused(2, 1, "step.failed b > undo a 1.1 > 12");
    gives(3, reply(SB_COMPENSATE, 0, SB_OUTCOME_FAILURE),
          "step.retried a undo 1.2 at 23, attention a undo > 23");
    verb(4, SB_SAGA_IN_RETRY, 0, "step.retried a undo 1.2 at 4 > undo a 1.2 > 14");
    undone(5, 0, "step.compensated a, compensated");
}

static void the_tries_of_an_undo_never_overflow(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    play.state.step[0].attempt = UINT16_MAX;
    not_undone(11, 0, "step.retried a undo 1.65535 at 31, attention a undo > 31");
    timer(31, " > undo a 1.65535 unknown > 41");
}

/* ---- classes of errors, and fallbacks ---- */

static void trouble(int at_ms, sb_direction_t direction, int step, sb_error_class_t error_class,
                    const char *want)
{
    sb_saga_input_t input = reply(direction, step, SB_OUTCOME_ERROR);
    input.error_class = error_class;
    gives(at_ms, input, want);
}

static void an_error_that_will_not_pass_is_not_tried_again(void **state)
{
    static const sb_error_class_t hopeless[] = {SB_CLASS_VALIDATION, SB_CLASS_BUSINESS};
    (void)state;
    for (int i = 0; i < 2; i++) {
        begin(1);
        start(0, "started > do a 1.1 > 10");
        trouble(1, SB_FORWARD, 0, hopeless[i], "step.failed a unknown > undo a 1.1 unknown > 11");
    }
    begin(1);
    start(0, "started > do a 1.1 > 10");
    trouble(1, SB_FORWARD, 0, SB_CLASS_INFRASTRUCTURE, "step.retried a 1.2 at 6 > 6");
}

static void each_class_has_its_policy(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].retry_class[SB_CLASS_EXTERNAL] =
        (sb_class_retry_t){true, {SB_RETRY_LINEAR, 3, 40, 100, false}};
    play.definition.step[0].retry_class[SB_CLASS_VALIDATION] =
        (sb_class_retry_t){true, {SB_RETRY_FIXED, 4, 2, 2, false}};
    start(0, "started > do a 1.1 > 10");
    trouble(1, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.retried a 1.2 at 41 > 41");
    timer(41, " > do a 1.2 > 51");
    trouble(42, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.retried a 1.3 at 122 > 122");
    timer(122, " > do a 1.3 > 132");
    trouble(123, SB_FORWARD, 0, SB_CLASS_VALIDATION, "step.retried a 1.4 at 125 > 125");
    timer(125, " > do a 1.4 > 135"); /* tries are counted over all classes */
    trouble(126, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.failed a unknown > undo a 1.1 unknown > 136");
    assert_int_equal(play.decision.event[0].error_class, SB_CLASS_EXTERNAL);
}

static void an_undo_that_will_not_pass_calls_at_once(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].undo_retry_class[SB_CLASS_VALIDATION] =
        (sb_class_retry_t){true, {SB_RETRY_FIXED, 0, 500, 500, false}};
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    done(2, 0, "step.completed a > undo a 1.1 > 12");
    trouble(3, SB_COMPENSATE, 0, SB_CLASS_EXTERNAL, "step.retried a undo 1.2 at 23 > 23");
    timer(23, " > undo a 1.2 > 33");
    trouble(24, SB_COMPENSATE, 0, SB_CLASS_VALIDATION,
            "step.retried a undo 1.3 at 524, attention a undo > 524");
}

static void a_fallback_stands_in_when_the_tries_end(void **state)
{
    (void)state;
    begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play; /* the machine only asks whether it is there */
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.retried a 1.2 at 15 > 15");
    timer(15, " > do a 1.2 > 25");
    timer(25, "step.skipped a fallback > do b 1.1 > 35");
    refused(26, 1, "step.failed b > undo a 1.1 unknown > 36"); /* it may have happened all the same */
    undone(27, 0, "step.compensated a, compensated");
}

static void a_fallback_does_not_hide_a_refusal_or_a_turn(void **state)
{
    (void)state;
    begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play;
    start(0, "started > do a 1.1 > 10");
    refused(1, 0, "step.failed a, compensated");
    begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play;
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
}

static void a_late_success_behind_a_fallback_is_recorded(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    play.definition.step[0].fallback = (sb_template_t *)&play;
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.skipped a fallback, completed");
    done(11, 0, "anomaly a");
    done(12, 0, "");
}

/* ---- the pivot ---- */

static void the_pivot_is_tried_until_it_is_known(void **state)
{
    (void)state;
    begin(2);
    make_pivot(1);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    verb(2, SB_SAGA_IN_CANCEL, 0, "refused: its pivot is done or under way: there is no way back > 11");
    error(3, 1, "step.retried b 1.2 at 8 > 8");
    timer(8, " > do b 1.2 > 18");
    timer(18, "step.retried b 1.3 at 23 > 23"); /* the policy says two */
    timer(23, " > do b 1.3 > 33");
    refused(24, 1, "step.failed b > undo a 1.1 > 34");
}

static void after_the_pivot_there_is_no_way_back(void **state)
{
    (void)state;
    begin(3);
    make_pivot(1);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    assert_true(play.state.past_pivot);
    error(3, 2, "step.retried c 1.2 at 8 > 8");
    timer(8, " > do c 1.2 > 18");
    refused(9, 2, "step.failed c, attention c");
    assert_int_equal(play.state.status, SB_SAGA_STARTED);
    assert_true(play.state.attention);
    refused(10, 2, "");
    verb(11, SB_SAGA_IN_RETRY, 2, "step.retried c 2.1 at 11 > do c 2.1 > 21");
    assert_false(play.state.attention);
    gives(12,
          (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY, .step = 2, .round = 1, .outcome = SB_OUTCOME_FAILURE},
          " > 21"); /* of the closed round */
    done(13, 2, "step.completed c, completed");
}

static void a_refused_step_after_the_pivot_can_be_skipped(void **state)
{
    (void)state;
    begin(3);
    make_pivot(0);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    refused(2, 1, "step.failed b, attention b");
    verb(3, SB_SAGA_IN_SKIP, 1, "step.skipped b > do c 1.1 > 13");
    assert_false(play.state.attention);
    done(4, 2, "step.completed c, completed");
}

/* ---- the deadline ---- */

static void the_deadline_turns_it_back(void **state)
{
    (void)state;
    begin(2);
    play.definition.deadline_ms = 12;
    start(0, "started > do a 1.1 > 10");
    done(5, 0, "step.completed a > do b 1.1 > 12");
    timer(12, "compensating > 15");
    done(13, 1, "step.completed b > undo b 1.1 > 23");
}

static void the_deadline_ends_with_the_pivot(void **state)
{
    (void)state;
    begin(2);
    play.definition.deadline_ms = 12;
    make_pivot(1);
    start(0, "started > do a 1.1 > 10");
    done(5, 0, "step.completed a > do b 1.1 > 15");
    timer(14, " > 15");
    timer(15, "step.retried b 1.2 at 20 > 20");
}

/* ---- late and contradictory ---- */

static void a_late_success_is_recorded_once_and_not_obeyed(void **state)
{
    (void)state;
    begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    start(0, "started > do a 1.1 > 10");
    timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    done(11, 0, "anomaly a > 20");
    done(12, 0, " > 20");
    undone(13, 0, "step.compensated a, compensated");
    done(14, 0, "");
}

static void it_is_recorded_after_the_end_too(void **state)
{
    (void)state;
    begin(1);
    start(0, "started > do a 1.1 > 10");
    refused(1, 0, "step.failed a, compensated");
    refused(2, 0, "");
    done(3, 0, "anomaly a");
    assert_int_equal(play.state.status, SB_SAGA_COMPENSATED);
}

static void other_answers_that_cannot_be_true(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 0, " > 11"); /* a repeat */
    refused(3, 0, "anomaly a > 11");
    undone(4, 1, "anomaly b undo > 11");
    assert_true(sb_slice_is(play.decision.event[0].reason, "an answer to an undo that was never sent"));
    begin(1);
    start(0, "started > do a 1.1 > 10");
    sb_saga_input_t other = reply(SB_FORWARD, 0, SB_OUTCOME_SUCCESS);
    other.round = 2;
    gives(1, other, "anomaly a > 10");
    other.step = 7;
    gives(1, other, " > 10");
    other.step = -1;
    gives(1, other, " > 10");
}

/* ---- operators ---- */

static void a_pause_keeps_what_comes_and_sends_nothing(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_PAUSE, 0, "paused");
    verb(2, SB_SAGA_IN_PAUSE, 0, "refused: it is paused already");
    verb(2, SB_SAGA_IN_RETRY, 0, "refused: it is paused: resume it first");
    timer(50, "");
    done(51, 0, "step.completed a");
    verb(60, SB_SAGA_IN_RESUME, 0, "resumed > do b 1.1 > 70");
    verb(61, SB_SAGA_IN_RESUME, 0, "refused: it is not paused > 70");
}

static void a_resumed_try_has_its_time_again(void **state)
{
    (void)state;
    begin(2);
    play.definition.step[0].group = play.definition.step[1].group = 0;
    start(0, "started > do a 1.1 > do b 1.1 > 10");
    error(1, 1, "step.retried b 1.2 at 6 > 6");
    verb(2, SB_SAGA_IN_PAUSE, 0, "paused");
    verb(90, SB_SAGA_IN_RESUME, 0, "resumed > do b 1.2 > 100");
    assert_int_equal(play.state.step[0].wake_us, 100 * MS);
}

static void a_paused_saga_can_be_cancelled(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    verb(2, SB_SAGA_IN_PAUSE, 0, "paused");
    verb(3, SB_SAGA_IN_CANCEL, 0, "compensating");
    refused(4, 1, "step.failed b");
    verb(5, SB_SAGA_IN_RESUME, 0, "resumed > undo a 1.1 > 15");
    undone(6, 0, "step.compensated a, compensated");
}

static void a_cancel_undoes_what_was_done(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    error(2, 1, "step.retried b 1.2 at 7 > 7");
    verb(3, SB_SAGA_IN_CANCEL, 0, "compensating, step.failed b unknown > undo b 1.1 unknown > 13");
    assert_true(sb_slice_is(play.decision.event[0].by, "ann"));
    assert_true(sb_slice_is(play.decision.event[0].reason, "because"));
    verb(4, SB_SAGA_IN_CANCEL, 0, "refused: it is being compensated already > 13");
}

static void a_retry_does_not_wait(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    error(1, 0, "step.retried a 1.2 at 6 > 6");
    verb(2, SB_SAGA_IN_RETRY, -1, "step.retried a 1.2 at 2 > do a 1.2 > 12");
    verb(3, SB_SAGA_IN_RETRY, 0, "step.retried a 1.3 at 3 > do a 1.3 > 13");
    verb(4, SB_SAGA_IN_RETRY, 1, "refused: there is no such step to try again > 13");
}

static void a_skipped_step_that_was_out_is_undone(void **state)
{
    (void)state;
    begin(3);
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_SKIP, 0, "step.skipped a > do b 1.1 > 11");
    verb(2, SB_SAGA_IN_SKIP, 2, "step.skipped c > 11"); /* ahead of its turn: it was not out */
    refused(3, 1, "step.failed b > undo a 1.1 unknown > 13");
    verb(4, SB_SAGA_IN_SKIP, 0, "step.skipped a undo, compensated");
    verb(5, SB_SAGA_IN_SKIP, 0, "refused: it is over");
}

static void rewind_to(int at_ms, int step, bool pause, const char *want)
{
    gives(at_ms,
          (sb_saga_input_t){.kind = SB_SAGA_IN_REWIND,
                            .step = step,
                            .pause = pause,
                            .by = SB_SLICE("ann"),
                            .reason = SB_SLICE("because")},
          want);
}

static void a_saga_goes_back_to_a_step_and_on_from_there(void **state)
{
    (void)state;
    begin(3);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    rewind_to(3, 1, false, "rewinding b > 12");
    done(4, 2, "step.completed c > undo c 1.1 > 14"); /* what was out is waited for */
    undone(5, 2, "step.compensated c > undo b 1.1 > 15");
    undone(6, 1, "step.compensated b, rewound b > do b 2.1 > 16");
    done(7, 1, "step.completed b > do c 2.1 > 17");
    done(8, 2, "step.completed c, completed");
}

static void it_goes_back_in_the_middle_of_a_compensation(void **state)
{
    (void)state;
    begin(3);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    refused(3, 2, "step.failed c > undo b 1.1 > 13");
    rewind_to(4, 2, false,
              "refused: a step before that one was undone, or is not done yet: go back to that > 13");
    rewind_to(4, 1, true, "rewinding b and waits > 13");
    undone(5, 1, "step.compensated b, rewound b");
    assert_true(play.state.paused);
    rewind_to(6, 0, false, "refused: it is paused: resume it first");
    verb(6, SB_SAGA_IN_RESUME, -1, "resumed > do b 2.1 > 16");
    done(7, 1, "step.completed b > do c 2.1 > 17");
    /* the round that was refused never happened; the one that was undone did */
    sb_saga_input_t late = reply(SB_FORWARD, 1, SB_OUTCOME_SUCCESS);
    late.round = 1;
    gives(8, late, " > 17");
    late.step = 2;
    gives(8, late, "anomaly c > 17");
    refused(9, 2, "step.failed c > undo b 2.1 > 19");
}

static void it_can_be_cancelled_on_its_way_back(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    rewind_to(2, 1, false, "rewinding b > 11");
    verb(3, SB_SAGA_IN_CANCEL, -1, "compensating > 11");
    verb(3, SB_SAGA_IN_CANCEL, -1, "refused: it is being compensated already > 11");
    refused(4, 1, "step.failed b > undo a 1.1 > 14");
    undone(5, 0, "step.compensated a, compensated");
}

static void there_is_no_way_back_over_the_pivot(void **state)
{
    (void)state;
    begin(3);
    make_pivot(1);
    start(0, "started > do a 1.1 > 10");
    rewind_to(1, 0, false, "rewinding a > 10");
    begin(3);
    make_pivot(1);
    start(0, "started > do a 1.1 > 10");
    rewind_to(1, 1, false, "refused: it has not come to that step yet > 10");
    rewind_to(1, 7, false, "refused: there is no such step to go back to > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    rewind_to(2, 0, false, "refused: its pivot is done or under way: there is no way back > 11");
    done(3, 1, "step.completed b > do c 1.1 > 13");
    rewind_to(4, 2, false, "refused: its pivot is done or under way: there is no way back > 13");
}

static void a_group_is_gone_back_over_as_a_whole(void **state)
{
    (void)state;
    begin(3);
    play.definition.step[0].group = play.definition.step[1].group = 0;
    play.definition.step[0].compensation = NULL; /* nothing to undo: it is pending again all the same */
    start(0, "started > do a 1.1 > do b 1.1 > 10");
    done(1, 0, "step.completed a > 10");
    done(2, 1, "step.completed b > do c 1.1 > 12");
    refused(3, 2, "step.failed c > undo b 1.1 > 13");
    rewind_to(4, 1, false, "rewinding a > 13");
    undone(5, 1, "step.compensated b, rewound a > do a 2.1 > do b 2.1 > 15");
}

static void the_deadline_counts_from_where_it_went_back(void **state)
{
    (void)state;
    begin(2);
    play.definition.deadline_ms = 30;
    start(0, "started > do a 1.1 > 10");
    done(1, 0, "step.completed a > do b 1.1 > 11");
    refused(2, 1, "step.failed b > undo a 1.1 > 12");
    rewind_to(25, 0, false, "rewinding a > 12");
    undone(40, 0, "step.compensated a, rewound a > do a 2.1 > 50");
    verb(41, SB_SAGA_IN_PAUSE, -1, "paused");
    verb(69, SB_SAGA_IN_RESUME, -1, "resumed > 70");
    timer(70, "compensating > 79");
}

static void another_input_is_for_one_step(void **state)
{
    (void)state;
    begin(2);
    start(0, "started > do a 1.1 > 10");
    sb_saga_input_t other = {.kind = SB_SAGA_IN_RETRY, .step = -1, .input = SB_SLICE("{\"x\":1}")};
    gives(1, other, "refused: another input is for one step: name it > 10");
    other.step = 0;
    gives(1, other, "step.retried a 1.2 at 1 > do a 1.2 > 11");
    assert_true(sb_slice_is(play.decision.event[0].input, "{\"x\":1}"));
    other.kind = SB_SAGA_IN_REWIND;
    gives(2, other, "rewinding a > 11");
    assert_true(sb_slice_is(play.decision.event[0].input, "{\"x\":1}"));
    refused(3, 0, "step.failed a, rewound a > do a 2.1 > 13");
}

static void an_operator_can_close_it(void **state)
{
    (void)state;
    begin(2);
    verb(0, SB_SAGA_IN_RESOLVE, 0, "refused: it has not started");
    start(0, "started > do a 1.1 > 10");
    verb(1, SB_SAGA_IN_RESOLVE, 0, "failed");
    assert_int_equal(play.state.status, SB_SAGA_FAILED);
    done(2, 0, "anomaly a");
    timer(30, "");
}

/* ---- after a crash ---- */

static void a_takeover_sends_what_is_open(void **state)
{
    (void)state;
    begin(3);
    play.definition.step[0].group = play.definition.step[1].group = play.definition.step[2].group = 0;
    start(0, "started > do a 1.1 > do b 1.1 > do c 1.1 > 10");
    done(1, 2, "step.completed c > 10");
    error(2, 1, "step.retried b 1.2 at 7 > 7");
    sb_saga_state_t after;
    sb_machine_open(&play.definition, &play.state, 3 * MS, &play.decision, &after);
    assert_told(&play.decision, " > do a 1.1 > 7");
    assert_int_equal(after.step[0].wake_us, 13 * MS);
    sb_machine_open(&play.definition, &play.state, 500 * MS, &play.decision, &after);
    assert_told(&play.decision, " > do a 1.1 > do b 1.2 > 510");
    assert_true(sb_saga_state_equal(&play.state, &after));
    verb(8, SB_SAGA_IN_PAUSE, 0, "paused");
    sb_machine_open(&play.definition, &play.state, 500 * MS, &play.decision, NULL);
    assert_told(&play.decision, "");
}

static void a_fold_refuses_what_cannot_follow(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    begin(2);
    sb_saga_event_t event = {.kind = SB_SAGA_EV_STEP_COMPLETED, .step = 0};
    assert_code(SB_CORRUPT, sb_machine_evolve(&play.definition, &play.state, &event, &err), &err);
    assert_contains(err.message,
                    "saga s, event 1: saga.step.completed of step 0 does not follow on saga none");
    start(0, "started > do a 1.1 > 10");
    static const sb_saga_event_t wrong[] = {
        {.kind = SB_SAGA_EV_STARTED, .step = -1, .at_us = 5},
        {.kind = SB_SAGA_EV_STEP_COMPLETED, .step = -1},
        {.kind = SB_SAGA_EV_STEP_COMPLETED, .step = 1},
        {.kind = SB_SAGA_EV_STEP_COMPLETED, .step = 2},
        {.kind = SB_SAGA_EV_STEP_DISPATCHED, .step = 0},
        {.kind = SB_SAGA_EV_STEP_FAILED, .step = 1},
        {.kind = SB_SAGA_EV_STEP_RETRIED, .step = 1},
        {.kind = SB_SAGA_EV_STEP_RETRIED, .step = 0, .direction = SB_COMPENSATE},
        {.kind = SB_SAGA_EV_STEP_SKIPPED, .step = 0, .direction = SB_COMPENSATE},
        {.kind = SB_SAGA_EV_STEP_COMPENSATED, .step = 0},
        {.kind = SB_SAGA_EV_COMPENSATED, .step = -1},
        {.kind = SB_SAGA_EV_ATTENTION, .step = -1},
    };
    sb_saga_state_t before = play.state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(sb_machine_evolve(&play.definition, &play.state, &wrong[i], NULL), SB_CORRUPT);
        assert_true(sb_saga_state_equal(&before, &play.state));
    }
    verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    event = (sb_saga_event_t){.kind = SB_SAGA_EV_STEP_DISPATCHED, .step = 1};
    assert_int_equal(sb_machine_evolve(&play.definition, &play.state, &event, NULL), SB_CORRUPT);
}

static void command_ids_are_the_same_over_all_tries(void **state)
{
    (void)state;
    sb_uuid_t saga = {{1}}, other = {{2}};
    sb_uuid_t id = sb_saga_command_id(&saga, "a", SB_FORWARD, 1),
              again = sb_saga_command_id(&saga, "a", SB_FORWARD, 1);
    assert_true(sb_uuid_equal(&id, &again));
    const sb_uuid_t others[] = {
        sb_saga_command_id(&other, "a", SB_FORWARD, 1), sb_saga_command_id(&saga, "b", SB_FORWARD, 1),
        sb_saga_command_id(&saga, "a", SB_COMPENSATE, 1), sb_saga_command_id(&saga, "a", SB_FORWARD, 2)};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(sb_uuid_equal(&id, &others[i]));
    char text[SB_UUID_TEXT]; /* participants keep these ids: they must never change */
    assert_string_equal(sb_uuid_format(&id, text), "a97a501b-39e0-595f-909c-889747f0beb6");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_steps_are_five_events),
        cmocka_unit_test(a_try_that_runs_out_is_tried_again),
        cmocka_unit_test(an_error_is_tried_again_and_then_unknown),
        cmocka_unit_test(the_answer_of_an_earlier_try_counts_while_it_waits),
        cmocka_unit_test(only_the_last_try_may_fail_a_step),
        cmocka_unit_test(what_an_operator_must_look_at_is_tried_on),
        cmocka_unit_test(a_refusal_ends_the_call_for_attention),
        cmocka_unit_test(turning_back_does_not_wait_for_an_operator),
        cmocka_unit_test(who_still_works_is_given_time),
        cmocka_unit_test(a_group_runs_side_by_side),
        cmocka_unit_test(a_group_turns_back_when_all_of_it_is_known),
        cmocka_unit_test(what_is_out_when_it_turns_is_not_tried_again),
        cmocka_unit_test(conditions_choose_the_steps),
        cmocka_unit_test(a_refusal_undoes_newest_first),
        cmocka_unit_test(nothing_to_undo_ends_at_once),
        cmocka_unit_test(an_undo_is_tried_for_ever_in_sight),
        cmocka_unit_test(an_undo_that_is_refused_calls_at_once),
        cmocka_unit_test(the_tries_of_an_undo_never_overflow),
        cmocka_unit_test(an_error_that_will_not_pass_is_not_tried_again),
        cmocka_unit_test(each_class_has_its_policy),
        cmocka_unit_test(an_undo_that_will_not_pass_calls_at_once),
        cmocka_unit_test(a_fallback_stands_in_when_the_tries_end),
        cmocka_unit_test(a_fallback_does_not_hide_a_refusal_or_a_turn),
        cmocka_unit_test(a_late_success_behind_a_fallback_is_recorded),
        cmocka_unit_test(the_pivot_is_tried_until_it_is_known),
        cmocka_unit_test(after_the_pivot_there_is_no_way_back),
        cmocka_unit_test(a_refused_step_after_the_pivot_can_be_skipped),
        cmocka_unit_test(the_deadline_turns_it_back),
        cmocka_unit_test(the_deadline_ends_with_the_pivot),
        cmocka_unit_test(a_late_success_is_recorded_once_and_not_obeyed),
        cmocka_unit_test(it_is_recorded_after_the_end_too),
        cmocka_unit_test(other_answers_that_cannot_be_true),
        cmocka_unit_test(a_pause_keeps_what_comes_and_sends_nothing),
        cmocka_unit_test(a_resumed_try_has_its_time_again),
        cmocka_unit_test(a_paused_saga_can_be_cancelled),
        cmocka_unit_test(a_cancel_undoes_what_was_done),
        cmocka_unit_test(a_retry_does_not_wait),
        cmocka_unit_test(a_skipped_step_that_was_out_is_undone),
        cmocka_unit_test(a_saga_goes_back_to_a_step_and_on_from_there),
        cmocka_unit_test(it_goes_back_in_the_middle_of_a_compensation),
        cmocka_unit_test(it_can_be_cancelled_on_its_way_back),
        cmocka_unit_test(there_is_no_way_back_over_the_pivot),
        cmocka_unit_test(a_group_is_gone_back_over_as_a_whole),
        cmocka_unit_test(the_deadline_counts_from_where_it_went_back),
        cmocka_unit_test(another_input_is_for_one_step),
        cmocka_unit_test(an_operator_can_close_it),
        cmocka_unit_test(a_takeover_sends_what_is_open),
        cmocka_unit_test(a_fold_refuses_what_cannot_follow),
        cmocka_unit_test(command_ids_are_the_same_over_all_tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
