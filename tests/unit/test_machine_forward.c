/* Steps done, tried again, side by side, and left out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

static void three_steps_are_five_events(void **state)
{
    (void)state;
    play_begin(3);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    play_done(3, 2, "step.completed c, completed");
    assert_int_equal(play.state.version, 5);
    assert_int_equal(play.state.status, SB_SAGA_COMPLETED);
    play_start(4, "refused: it has started already");
}

static void a_try_that_runs_out_is_tried_again(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_timer(9, " > 10");
    play_timer(10, "step.retried a 1.2 at 15 > 15");
    play_timer(12, " > 15");
    play_timer(16, " > do a 1.2 > 26");
    play_timer(17, " > 26");
    play_done(18, 0, "step.completed a > do b 1.1 > 28");
}

static void an_error_is_tried_again_and_then_unknown(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_error(2, 1, "step.retried b 1.2 at 7 > 7");
    play_error(3, 1, " > 7"); /* the same again, while it waits */
    play_timer(7, " > do b 1.2 > 17");
    play_error(8, 1, "step.failed b unknown > undo b 1.1 unknown > 18");
    assert_int_equal(play.state.failed_step, 1);
    play_undone(9, 1, "step.compensated b > undo a 1.1 > 19");
    play_undone(10, 0, "step.compensated a, compensated");
}

static void the_answer_of_an_earlier_try_counts_while_it_waits(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.retried a 1.2 at 15 > 15");
    play_done(11, 0, "step.completed a > do b 1.1 > 21");
    play_timer(15, " > 21");
}

static void only_the_last_try_may_fail_a_step(void **state)
{
    (void)state;
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.retried a 1.2 at 15 > 15");
    play_timer(15, " > do a 1.2 > 25");
    sb_saga_input_t late = play_reply(SB_FORWARD, 0, SB_OUTCOME_FAILURE);
    late.attempt = 1;
    play_gives(16, late, " > 25");
    late.outcome = SB_OUTCOME_ERROR;
    play_gives(17, late, " > 25");
    late.attempt = 2;
    late.outcome = SB_OUTCOME_FAILURE;
    play_gives(18, late, "step.failed a, compensated");
}

static sb_saga_input_t set_up_wrong(int step)
{
    sb_saga_input_t input = play_reply(SB_FORWARD, step, SB_OUTCOME_ERROR);
    input.attention = true;
    return input;
}

/* A wrong address or password does not mend itself: turning back for it would undo good work, and trying fast
 * would only fill the history. */
static void what_an_operator_must_look_at_is_tried_on(void **state)
{
    (void)state;
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    play_gives(1, set_up_wrong(0), "step.retried a 1.2 at 5001, attention a > 5001");
    assert_true(play.state.attention);
    play_timer(5001, " > do a 1.2 > 5011");
    play_gives(5002, set_up_wrong(0),
               "step.retried a 1.3 at 10002 > 10002"); /* past the two tries of its policy */
    play_verb(6000, SB_SAGA_IN_RETRY, 0, "step.retried a 1.3 at 6000 > do a 1.3 > 6010");
    play_done(6001, 0, "step.completed a, completed");
    assert_false(play.state.attention);
}

/* It turns back by itself: nobody has to act any more. */
static void a_refusal_ends_the_call_for_attention(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_gives(2, set_up_wrong(1), "step.retried b 1.2 at 5002, attention b > 5002");
    assert_true(play.state.attention);
    play_refused(3, 1, "step.failed b > undo a 1.1 > 13");
    assert_false(play.state.attention);
}

/* Once the saga turns back, what is out is not tried again, whatever it says. */
static void turning_back_does_not_wait_for_an_operator(void **state)
{
    (void)state;
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_CANCEL, -1, "compensating > 10");
    play_gives(2, set_up_wrong(0), "step.failed a unknown > undo a 1.1 unknown > 12");
}

static void who_still_works_is_given_time(void **state)
{
    (void)state;
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    play_gives(8, play_reply(SB_FORWARD, 0, SB_OUTCOME_PENDING), " > 18");
    play_timer(10, " > 18");
    play_timer(18, "step.retried a 1.2 at 23 > 23");
    play_gives(19, play_reply(SB_FORWARD, 0, SB_OUTCOME_PENDING), " > 23");
}

static void a_group_runs_side_by_side(void **state)
{
    (void)state;
    play_begin(4);
    play.definition.step[1].group = play.definition.step[2].group = 1;
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > do c 1.1 > 11");
    play_done(2, 2, "step.completed c > 11");
    play_done(3, 1, "step.completed b > do d 1.1 > 13");
    play_refused(4, 3, "step.failed d > undo c 1.1 > 14");
}

static void a_group_turns_back_when_all_of_it_is_known(void **state)
{
    (void)state;
    play_begin(3);
    play.definition.step[0].group = play.definition.step[1].group = play.definition.step[2].group = 0;
    play_start(0, "started > do a 1.1 > do b 1.1 > do c 1.1 > 10");
    play_error(1, 2, "step.retried c 1.2 at 6 > 6");
    play_refused(2, 0,
                 "step.failed a, step.failed c unknown > 10"); /* b is out: what it did is not known yet */
    play_done(3, 1, "step.completed b > undo c 1.1 unknown > 13");
    play_undone(4, 2, "step.compensated c > undo b 1.1 > 14");
    play_undone(5, 1, "step.compensated b, compensated");
}

static void what_is_out_when_it_turns_is_not_tried_again(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    play_timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
}

static void conditions_choose_the_steps(void **state)
{
    (void)state;
    play_begin(4);
    for (int i = 0; i < 3; i++)
        play.definition.step[i].when = (sb_condition_t *)&play; /* only whether there is one is read */
    play.skip_mask = 5;
    play_start(0, "started, step.skipped a, step.dispatched b > do b 1.1 > 10");
    play_done(1, 1, "step.completed b, step.skipped c > do d 1.1 > 11");
    play_refused(2, 3, "step.failed d > undo b 1.1 > 12");
    play_undone(3, 1, "step.compensated b, compensated");
    play_begin(1);
    play.definition.step[0].when = (sb_condition_t *)&play;
    play.skip_mask = 1;
    play_start(0, "started, step.skipped a, completed");
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
