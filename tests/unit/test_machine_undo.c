/* The way back: what is undone and in which order, the pivot behind which nothing is, and what comes too
 * late.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

static void a_refusal_undoes_newest_first(void **state)
{
    (void)state;
    play_begin(3);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    play_refused(3, 2, "step.failed c > undo b 1.1 > 13");
    play_undone(4, 1, "step.compensated b > undo a 1.1 > 14");
    play_undone(5, 0, "step.compensated a, compensated");
    assert_int_equal(play.state.failed_step, 2);
}

static void nothing_to_undo_ends_at_once(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.step[0].compensation = NULL;
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_refused(2, 1, "step.failed b, compensated");
}

static void an_undo_is_tried_for_ever_in_sight(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    play_not_undone(11, 0, "step.retried a undo 1.2 at 31 > 31");
    play_timer(31, " > undo a 1.2 unknown > 41");
    play_timer(41, "step.retried a undo 1.3 at 61 > 61");
    play_timer(61, " > undo a 1.3 unknown > 71");
    play_timer(71, "step.retried a undo 1.4 at 91 > 91");
    play_timer(91, " > undo a 1.4 unknown > 101");
    play_timer(101, "step.retried a undo 1.5 at 121 > 121");
    assert_false(play.state.attention);
    play_timer(121, " > undo a 1.5 unknown > 131");
    play_timer(131,
               "step.retried a undo 1.6 at 252, attention a undo > 252"); /* as long again as it has waited */
    assert_true(play.state.attention);
    play_timer(252, " > undo a 1.6 unknown > 262");
    play_timer(262, "step.retried a undo 1.7 at 514 > 514"); /* it calls once */
    play_verb(300, SB_SAGA_IN_RETRY, 0, "step.retried a undo 1.7 at 300 > undo a 1.7 unknown > 310");
    play_not_undone(301, 0, "step.retried a undo 1.8 at 321 > 321"); /* an answer: by the policy */
    play_timer(321, " > undo a 1.8 unknown > 331");
    play_timer(1000010, "step.retried a undo 1.9 at 1300010 > 1300010");
    play_undone(1000020, 0, "step.compensated a, compensated");
    assert_false(play.state.attention);
}

static void an_undo_that_is_refused_calls_at_once(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_refused(2, 1, "step.failed b > undo a 1.1 > 12");
    play_gives(3, play_reply(SB_COMPENSATE, 0, SB_OUTCOME_FAILURE),
               "step.retried a undo 1.2 at 23, attention a undo > 23");
    play_verb(4, SB_SAGA_IN_RETRY, 0, "step.retried a undo 1.2 at 4 > undo a 1.2 > 14");
    play_undone(5, 0, "step.compensated a, compensated");
}

static void the_tries_of_an_undo_never_overflow(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    play.state.step[0].attempt = UINT16_MAX;
    play_not_undone(11, 0, "step.retried a undo 1.65535 at 31, attention a undo > 31");
    play_timer(31, " > undo a 1.65535 unknown > 41");
}

/* ---- the pivot ---- */

static void the_pivot_is_tried_until_it_is_known(void **state)
{
    (void)state;
    play_begin(2);
    play_make_pivot(1);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_verb(2, SB_SAGA_IN_CANCEL, 0, "refused: its pivot is done or under way: there is no way back > 11");
    play_error(3, 1, "step.retried b 1.2 at 8 > 8");
    play_timer(8, " > do b 1.2 > 18");
    play_timer(18, "step.retried b 1.3 at 23 > 23"); /* the policy says two */
    play_timer(23, " > do b 1.3 > 33");
    play_refused(24, 1, "step.failed b > undo a 1.1 > 34");
}

static void after_the_pivot_there_is_no_way_back(void **state)
{
    (void)state;
    play_begin(3);
    play_make_pivot(1);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 1, "step.completed b > do c 1.1 > 12");
    assert_true(play.state.past_pivot);
    play_error(3, 2, "step.retried c 1.2 at 8 > 8");
    play_timer(8, " > do c 1.2 > 18");
    play_refused(9, 2, "step.failed c, attention c");
    assert_int_equal(play.state.status, SB_SAGA_STARTED);
    assert_true(play.state.attention);
    play_refused(10, 2, "");
    play_verb(11, SB_SAGA_IN_RETRY, 2, "step.retried c 2.1 at 11 > do c 2.1 > 21");
    assert_false(play.state.attention);
    play_gives(
        12, (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY, .step = 2, .round = 1, .outcome = SB_OUTCOME_FAILURE},
        " > 21"); /* of the closed round */
    play_done(13, 2, "step.completed c, completed");
}

static void a_refused_step_after_the_pivot_can_be_skipped(void **state)
{
    (void)state;
    play_begin(3);
    play_make_pivot(0);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_refused(2, 1, "step.failed b, attention b");
    play_verb(3, SB_SAGA_IN_SKIP, 1, "step.skipped b > do c 1.1 > 13");
    assert_false(play.state.attention);
    play_done(4, 2, "step.completed c, completed");
}

/* ---- late and contradictory ---- */

static void a_late_success_is_recorded_once_and_not_obeyed(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
    play_done(11, 0, "anomaly a > 20");
    play_done(12, 0, " > 20");
    play_undone(13, 0, "step.compensated a, compensated");
    play_done(14, 0, "");
}

static void it_is_recorded_after_the_end_too(void **state)
{
    (void)state;
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    play_refused(1, 0, "step.failed a, compensated");
    play_refused(2, 0, "");
    play_done(3, 0, "anomaly a");
    assert_int_equal(play.state.status, SB_SAGA_COMPENSATED);
}

static void other_answers_that_cannot_be_true(void **state)
{
    (void)state;
    play_begin(2);
    play_start(0, "started > do a 1.1 > 10");
    play_done(1, 0, "step.completed a > do b 1.1 > 11");
    play_done(2, 0, " > 11"); /* a repeat */
    play_refused(3, 0, "anomaly a > 11");
    play_undone(4, 1, "anomaly b undo > 11");
    assert_true(sb_slice_is(play.decision.event[0].reason, "an answer to an undo that was never sent"));
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    sb_saga_input_t other = play_reply(SB_FORWARD, 0, SB_OUTCOME_SUCCESS);
    other.round = 2;
    play_gives(1, other, "anomaly a > 10");
    other.step = 7;
    play_gives(1, other, " > 10");
    other.step = -1;
    play_gives(1, other, " > 10");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_undoes_newest_first),
        cmocka_unit_test(nothing_to_undo_ends_at_once),
        cmocka_unit_test(an_undo_is_tried_for_ever_in_sight),
        cmocka_unit_test(an_undo_that_is_refused_calls_at_once),
        cmocka_unit_test(the_tries_of_an_undo_never_overflow),
        cmocka_unit_test(the_pivot_is_tried_until_it_is_known),
        cmocka_unit_test(after_the_pivot_there_is_no_way_back),
        cmocka_unit_test(a_refused_step_after_the_pivot_can_be_skipped),
        cmocka_unit_test(a_late_success_is_recorded_once_and_not_obeyed),
        cmocka_unit_test(it_is_recorded_after_the_end_too),
        cmocka_unit_test(other_answers_that_cannot_be_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
