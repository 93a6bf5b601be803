/* What the class of an error chooses, what stands in when tries end, and the deadline of the whole.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

/* ---- classes of errors, and fallbacks ---- */

static void trouble(int at_ms, sb_direction_t direction, int step, sb_error_class_t error_class,
                    const char *want)
{
    sb_saga_input_t input = play_reply(direction, step, SB_OUTCOME_ERROR);
    input.error_class = error_class;
    play_gives(at_ms, input, want);
}

static void an_error_that_will_not_pass_is_not_tried_again(void **state)
{
    static const sb_error_class_t hopeless[] = {SB_CLASS_VALIDATION, SB_CLASS_BUSINESS};
    (void)state;
    for (int i = 0; i < 2; i++) {
        play_begin(1);
        play_start(0, "started > do a 1.1 > 10");
        trouble(1, SB_FORWARD, 0, hopeless[i], "step.failed a unknown > undo a 1.1 unknown > 11");
    }
    play_begin(1);
    play_start(0, "started > do a 1.1 > 10");
    trouble(1, SB_FORWARD, 0, SB_CLASS_INFRASTRUCTURE, "step.retried a 1.2 at 6 > 6");
}

static void each_class_has_its_policy(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].retry_class[SB_CLASS_EXTERNAL] =
        (sb_class_retry_t){true, {SB_RETRY_LINEAR, 3, 40, 100, false}};
    play.definition.step[0].retry_class[SB_CLASS_VALIDATION] =
        (sb_class_retry_t){true, {SB_RETRY_FIXED, 4, 2, 2, false}};
    play_start(0, "started > do a 1.1 > 10");
    trouble(1, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.retried a 1.2 at 41 > 41");
    play_timer(41, " > do a 1.2 > 51");
    trouble(42, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.retried a 1.3 at 122 > 122");
    play_timer(122, " > do a 1.3 > 132");
    trouble(123, SB_FORWARD, 0, SB_CLASS_VALIDATION, "step.retried a 1.4 at 125 > 125");
    play_timer(125, " > do a 1.4 > 135"); /* tries are counted over all classes */
    trouble(126, SB_FORWARD, 0, SB_CLASS_EXTERNAL, "step.failed a unknown > undo a 1.1 unknown > 136");
    assert_int_equal(play.decision.event[0].error_class, SB_CLASS_EXTERNAL);
}

static void an_undo_that_will_not_pass_calls_at_once(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].undo_retry_class[SB_CLASS_VALIDATION] =
        (sb_class_retry_t){true, {SB_RETRY_FIXED, 0, 500, 500, false}};
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    play_done(2, 0, "step.completed a > undo a 1.1 > 12");
    trouble(3, SB_COMPENSATE, 0, SB_CLASS_EXTERNAL, "step.retried a undo 1.2 at 23 > 23");
    play_timer(23, " > undo a 1.2 > 33");
    trouble(24, SB_COMPENSATE, 0, SB_CLASS_VALIDATION,
            "step.retried a undo 1.3 at 524, attention a undo > 524");
}

static void a_fallback_stands_in_when_the_tries_end(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play; /* the machine only asks whether it is there */
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.retried a 1.2 at 15 > 15");
    play_timer(15, " > do a 1.2 > 25");
    play_timer(25, "step.skipped a fallback > do b 1.1 > 35");
    play_refused(26, 1, "step.failed b > undo a 1.1 unknown > 36"); /* it may have happened all the same */
    play_undone(27, 0, "step.compensated a, compensated");
}

static void a_fallback_does_not_hide_a_refusal_or_a_turn(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play;
    play_start(0, "started > do a 1.1 > 10");
    play_refused(1, 0, "step.failed a, compensated");
    play_begin(2);
    play.definition.step[0].fallback = (sb_template_t *)&play;
    play_start(0, "started > do a 1.1 > 10");
    play_verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
    play_timer(10, "step.failed a unknown > undo a 1.1 unknown > 20");
}

static void a_late_success_behind_a_fallback_is_recorded(void **state)
{
    (void)state;
    play_begin(1);
    play.definition.step[0].retry.attempts_max = 1;
    play.definition.step[0].fallback = (sb_template_t *)&play;
    play_start(0, "started > do a 1.1 > 10");
    play_timer(10, "step.skipped a fallback, completed");
    play_done(11, 0, "anomaly a");
    play_done(12, 0, "");
}

/* ---- the deadline ---- */

static void the_deadline_turns_it_back(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.deadline_ms = 12;
    play_start(0, "started > do a 1.1 > 10");
    play_done(5, 0, "step.completed a > do b 1.1 > 12");
    play_timer(12, "compensating > 15");
    play_done(13, 1, "step.completed b > undo b 1.1 > 23");
}

static void the_deadline_ends_with_the_pivot(void **state)
{
    (void)state;
    play_begin(2);
    play.definition.deadline_ms = 12;
    play_make_pivot(1);
    play_start(0, "started > do a 1.1 > 10");
    play_done(5, 0, "step.completed a > do b 1.1 > 15");
    play_timer(14, " > 15");
    play_timer(15, "step.retried b 1.2 at 20 > 20");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_that_will_not_pass_is_not_tried_again),
        cmocka_unit_test(each_class_has_its_policy),
        cmocka_unit_test(an_undo_that_will_not_pass_calls_at_once),
        cmocka_unit_test(a_fallback_stands_in_when_the_tries_end),
        cmocka_unit_test(a_fallback_does_not_hide_a_refusal_or_a_turn),
        cmocka_unit_test(a_late_success_behind_a_fallback_is_recorded),
        cmocka_unit_test(the_deadline_turns_it_back),
        cmocka_unit_test(the_deadline_ends_with_the_pivot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
