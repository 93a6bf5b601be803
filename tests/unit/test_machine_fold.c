/* After a crash: a fold of the events is the state, and what is open goes out again under the same ids.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

static void a_takeover_sends_what_is_open(void **state)
{
    (void)state;
    play_begin(3);
    play.definition.step[0].group = play.definition.step[1].group = play.definition.step[2].group = 0;
    play_start(0, "started > do a 1.1 > do b 1.1 > do c 1.1 > 10");
    play_done(1, 2, "step.completed c > 10");
    play_error(2, 1, "step.retried b 1.2 at 7 > 7");
    sb_saga_state_t after;
    sb_machine_open(&play.definition, &play.state, 3 * MS, &play.decision, &after);
    play_assert_told(&play.decision, " > do a 1.1 > 7");
    assert_int_equal(after.step[0].wake_us, 13 * MS);
    sb_machine_open(&play.definition, &play.state, 500 * MS, &play.decision, &after);
    play_assert_told(&play.decision, " > do a 1.1 > do b 1.2 > 510");
    assert_true(sb_saga_state_equal(&play.state, &after));
    play_verb(8, SB_SAGA_IN_PAUSE, 0, "paused");
    sb_machine_open(&play.definition, &play.state, 500 * MS, &play.decision, NULL);
    play_assert_told(&play.decision, "");
}

static void a_fold_refuses_what_cannot_follow(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    play_begin(2);
    sb_saga_event_t event = {.kind = SB_SAGA_EV_STEP_COMPLETED, .step = 0};
    assert_code(SB_CORRUPT, sb_machine_evolve(&play.definition, &play.state, &event, &err), &err);
    assert_contains(err.message,
                    "saga s, event 1: saga.step.completed of step 0 does not follow on saga none");
    play_start(0, "started > do a 1.1 > 10");
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
    play_verb(1, SB_SAGA_IN_CANCEL, 0, "compensating > 10");
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
        cmocka_unit_test(a_takeover_sends_what_is_open),
        cmocka_unit_test(a_fold_refuses_what_cannot_follow),
        cmocka_unit_test(command_ids_are_the_same_over_all_tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
