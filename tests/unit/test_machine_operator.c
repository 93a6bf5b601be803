/* What an operator may ask for, and when: pause, resume, cancel, retry, skip, go back, close.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

static void a_pause_keeps_what_comes_and_sends_nothing(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_PAUSE, 0, "paused");
    play_verb(2, SB_SAGA_IN_PAUSE, 0, "refused: it is paused already");
    play_verb(2, SB_SAGA_IN_RETRY, 0, "refused: it is paused: resume it first");
    play_timer(50, "");
    play_done(51, 0, "step.completed a");
    play_verb(60, SB_SAGA_IN_RESUME, 0, "resumed > do b 1.1 > 70");
    play_verb(61, SB_SAGA_IN_RESUME, 0, "refused: it is not paused > 70");
}

static void a_resumed_try_has_its_time_again(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.step[0].group = play.definition.step[1].group = 0;
    play_start(0, "started > do a 1.1 > do b 1.1 > 10");
    play_error(1, 1, "step.retried b 1.2 at 6 > 6");
    play_verb(2, SB_SAGA_IN_PAUSE, 0, "paused");
    play_verb(90, SB_SAGA_IN_RESUME, 0, "resumed > do b 1.2 > 100");
    assert_int_equal(play.state.step[0].wake_us, 100 * MS);
}

static void a_paused_saga_can_be_cancelled(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_verb(2, SB_SAGA_IN_PAUSE, 0, "paused");
    play_verb(3, SB_SAGA_IN_CANCEL, 0, "compensating");
    play_refused(4, 1, "step.failed b");
    play_verb(5, SB_SAGA_IN_RESUME, 0, "resumed > undo a 1.1 > 15");
    play_undone(6, 0, "step.compensated a, compensated");
}

static void a_cancel_undoes_what_was_done(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_error(2, 1, "step.retried b 1.2 at 7 > 7");
    play_verb(3, SB_SAGA_IN_CANCEL, 0, "compensating, step.failed b unknown > undo b 1.1 unknown > 13");
    assert_true(sb_slice_is(play.decision.event[0].by, "ann"));
    assert_true(sb_slice_is(play.decision.event[0].reason, "because"));
    play_verb(4, SB_SAGA_IN_CANCEL, 0, "refused: it is being compensated already > 13");
}

static void a_retry_does_not_wait(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_error(1, 0, "step.retried a 1.2 at 6 > 6");
    play_verb(2, SB_SAGA_IN_RETRY, -1, "step.retried a 1.2 at 2 > do a 1.2 > 12");
    play_verb(3, SB_SAGA_IN_RETRY, 0, "step.retried a 1.3 at 3 > do a 1.3 > 13");
    play_verb(4, SB_SAGA_IN_RETRY, 1, "refused: it has not come to that step yet > 13");
    play_done(5, 0, "step.completed a > do b 1.1 > 15");
    play_verb(6, SB_SAGA_IN_RETRY, 0, "refused: that step is done already > 15");
    play_verb(6, SB_SAGA_IN_SKIP, 0, "refused: that step is done already > 15");
    play_refused(7, 1, "step.failed b > undo a 1.1 > 17");
    play_verb(8, SB_SAGA_IN_RETRY, 1, "refused: that step is not being undone now > 17");
    play_verb(8, SB_SAGA_IN_SKIP, 1, "refused: that step is not being undone now > 17");
}

static void a_skipped_step_that_was_out_is_undone(void **state)
{
    (void)state;
    play_begin(3);
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_SKIP, 0, "step.skipped a > do b 1.1 > 11");
    play_verb(2, SB_SAGA_IN_SKIP, 2, "step.skipped c > 11"); /* ahead of its turn: it was not out */
    play_refused(3, 1, "step.failed b > undo a 1.1 unknown > 13");
    play_verb(4, SB_SAGA_IN_SKIP, 0, "step.skipped a undo, compensated");
    play_verb(5, SB_SAGA_IN_SKIP, 0, "refused: it is over");
}

static void rewind_to(int at_ms, int step, bool pause, const char *want)
{
    play_gives(at_ms,
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
    play_begin(3);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    rewind_to(3, 1, false, "rewinding b > 12");
    play_done(4, 2, "step.completed c > undo c 1.1 > 14"); /* what was out is waited for */
    play_undone(5, 2, "step.compensated c > undo b 1.1 > 15");
    play_undone(6, 1, "step.compensated b, rewound b > do b 2.1 > 16");
    play_done(7, 1, "step.completed b > do c 2.1 > 17");
    play_done(8, 2, "step.completed c, completed");
}

static void it_goes_back_in_the_middle_of_a_compensation(void **state)
{
    (void)state;
    play_begin(3);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    play_refused(3, 2, "step.failed c > undo b 1.1 > 13");
    rewind_to(4, 2, false,
              "refused: a step before that one was undone, or is not done yet: go back to that > 13");
    rewind_to(4, 1, true, "rewinding b and waits > 13");
    play_undone(5, 1, "step.compensated b, rewound b");
    assert_true(play.state.paused);
    rewind_to(6, 0, false, "refused: it is paused: resume it first");
    play_verb(6, SB_SAGA_IN_RESUME, -1, "resumed > do b 2.1 > 16");
    play_done(7, 1, "step.completed b > do c 2.1 > 17");
    /* the round that was refused never happened; the one that was undone did */
    sb_saga_input_t late = play_reply(SB_FORWARD, 1, SB_OUTCOME_SUCCESS);
    late.round = 1;
    play_gives(8, late, " > 17");
    late.step = 2;
    play_gives(8, late, "anomaly c > 17");
    play_refused(9, 2, "step.failed c > undo b 2.1 > 19");
}

static void it_can_be_cancelled_on_its_way_back(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    rewind_to(2, 1, false, "rewinding b > 11");
    play_verb(3, SB_SAGA_IN_CANCEL, -1, "compensating > 11");
    play_verb(3, SB_SAGA_IN_CANCEL, -1, "refused: it is being compensated already > 11");
    play_refused(4, 1, "step.failed b > undo a 1.1 > 14");
    play_undone(5, 0, "step.compensated a, compensated");
}

static void there_is_no_way_back_over_the_pivot(void **state)
{
    (void)state;
    play_begin(3);
    play_make_pivot(1);
    play_start(0, "started > do a 1.1 > 10");
    rewind_to(1, 0, false, "rewinding a > 10");
    play_begin(3);
    play_make_pivot(1);
    play_start(0, "started > do a 1.1 > 10");
    rewind_to(1, 1, false, "refused: it has not come to that step yet > 10");
    rewind_to(1, 7, false, "refused: there is no such step to go back to > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    rewind_to(2, 0, false, "refused: its pivot is done or under way: there is no way back > 11");
    play_done(3, 1, "step.completed b > do c 1.1 > 13");
    rewind_to(4, 2, false, "refused: its pivot is done or under way: there is no way back > 13");
}

static void a_group_is_gone_back_over_as_a_whole(void **state)
{
    (void)state;
    play_begin(3);
    play.definition.step[0].group = play.definition.step[1].group = 0;
    play.definition.step[0].compensation = NULL; /* nothing to undo: it is pending again all the same */
    play_start(0, "started > do a 1.1 > do b 1.1 > 10");
    play_done(1, 0, "step.completed a > 10");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    play_refused(3, 2, "step.failed c > undo b 1.1 > 13");
    rewind_to(4, 1, false, "rewinding a > 13");
    play_undone(5, 1, "step.compensated b, rewound a > do a 2.1 > do b 2.1 > 15");
}

static void the_deadline_counts_from_where_it_went_back(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.deadline_ms = 30;
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_refused(2, 1, "step.failed b > undo a 1.1 > 12");
    rewind_to(25, 0, false, "rewinding a > 12");
    play_undone(40, 0, "step.compensated a, rewound a > do a 2.1 > 50");
    play_verb(41, SB_SAGA_IN_PAUSE, -1, "paused");
    play_verb(69, SB_SAGA_IN_RESUME, -1, "resumed > 70");
    play_timer(70, "compensating > 79");
}

static void another_input_is_for_one_step(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    sb_saga_input_t other = {.kind = SB_SAGA_IN_RETRY, .step = -1, .input = SB_SLICE("{\"x\":1}")};
    play_gives(1, other, "refused: another input is for one step: name it > 10");
    other.step = 0;
    play_gives(1, other, "step.retried a 1.2 at 1 > do a 1.2 > 11");
    assert_true(sb_slice_is(play.decision.event[0].input, "{\"x\":1}"));
    other.kind = SB_SAGA_IN_REWIND;
    play_gives(2, other, "rewinding a > 11");
    assert_true(sb_slice_is(play.decision.event[0].input, "{\"x\":1}"));
    play_refused(3, 0, "step.failed a, rewound a > do a 2.1 > 13");
}

static void an_operator_can_close_it(void **state)
{
    (void)state;
    play_begin(2);
    play_verb(0, SB_SAGA_IN_RESOLVE, 0, "refused: it has not started");
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_RESOLVE, 0, "failed");
    assert_int_equal(play.state.status, SB_SAGA_FAILED);
    play_done(2, 0, "anomaly a");
    play_timer(30, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
