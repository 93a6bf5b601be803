/* Sagas that turn back all at once, and a participant that is slower than their repeats: what waits there
 * must grow less all the same. The machine is the real one; around it are a clock and a queue.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine.h"
#include "saga/orchestrator/children.h"
#include "tests/support/assert.h"

#include <stdlib.h>

#define MS        1000
#define SAGAS     300
#define STEPS     4 /* the last is refused, three are undone */
#define QUEUE_MAX (1 << 20)

typedef struct command {
    int saga;
    int step;
    sb_direction_t direction;
    uint16_t round, attempt;
} command_t;

typedef struct world {
    sb_definition_t definition;
    sb_saga_state_t saga[SAGAS];
    int64_t wake_us[SAGAS];
    command_t *queue; /* in the order of arrival; none is left out */
    size_t first, last;
    int over;
} world_t;

static world_t world;

static void set_up_world(void)
{
    static const char *const names[STEPS] = {"a", "b", "c", "d"};
    world.queue = calloc(QUEUE_MAX, sizeof *world.queue);
    assert_non_null(world.queue);
    world.definition.name = "s";
    world.definition.step_count = STEPS;
    for (int i = 0; i < STEPS; i++)
        world.definition.step[i] = (sb_step_definition_t){.name = names[i],
                                                          .participant = "p",
                                                          .action = "do",
                                                          .compensation = "undo",
                                                          .group = -1,
                                                          .timeout_ms = 1000000,
                                                          .retry = {SB_RETRY_FIXED, 2, 5, 5, false},
                                                          .undo_retry = {SB_RETRY_FIXED, 0, 10, 10, false}};
}

static void take(int no, sb_saga_input_t input, int64_t now_us)
{
    static sb_decision_t decision;
    sb_saga_state_t after;
    sb_machine_decide(&world.definition, &world.saga[no], &input, now_us, &decision, &after);
    assert_false(decision.refused);
    world.saga[no] = after;
    world.wake_us[no] = decision.wake_us;
    world.over += sb_saga_is_over(&after);
    for (int i = 0; i < decision.order_count; i++) {
        assert_true(world.last < QUEUE_MAX);
        world.queue[world.last++] = (command_t){no, decision.order[i].step, decision.order[i].direction,
                                                decision.order[i].round, decision.order[i].attempt};
    }
}

/* The participant's barrier: a repeat costs what the first one cost, and has the same answer. */
static void answer(const command_t *command, int64_t now_us)
{
    bool refuses = command->direction == SB_FORWARD && command->step == STEPS - 1;
    if (sb_saga_is_over(&world.saga[command->saga]))
        return;
    take(command->saga,
         (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                           .step = command->step,
                           .direction = command->direction,
                           .round = command->round,
                           .attempt = command->attempt,
                           .outcome = refuses ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS,
                           .result = SB_SLICE("{}")},
         now_us);
}

static void silent_undos_do_not_bury_a_slow_participant(void **state)
{
    (void)state;
    set_up_world();
    for (int i = 0; i < SAGAS; i++)
        take(i, (sb_saga_input_t){.kind = SB_SAGA_IN_START, .step = -1}, 0);
    while (world.first < (size_t)SAGAS * STEPS) /* forward, as quickly as may be */
        answer(&world.queue[world.first++], 0);
    for (int i = 0; i < STEPS; i++)
        world.definition.step[i].timeout_ms = 20;
    for (int i = 0; i < SAGAS; i++) /* the undos that are out have this time, too */
        take(i, (sb_saga_input_t){.kind = SB_SAGA_IN_TIMER, .step = -1}, 1000001 * MS);
    /* From now on one command a millisecond; the sagas would repeat ten. */
    int64_t begin_us = 1000001 * MS, now_us = begin_us;
    for (; world.over < SAGAS && now_us < begin_us + 60000 * MS; now_us += MS) {
        if (world.first < world.last)
            answer(&world.queue[world.first++], now_us);
        for (int i = 0; i < SAGAS; i++)
            if (!sb_saga_is_over(&world.saga[i]) && world.wake_us[i] <= now_us)
                take(i, (sb_saga_input_t){.kind = SB_SAGA_IN_TIMER, .step = -1}, now_us);
    }
    size_t handled = world.first - (size_t)SAGAS * STEPS;
    print_message("%d of %d undone after %lld ms, %zu commands for %d undos, %zu wait\n", world.over, SAGAS,
                  (long long)((now_us - begin_us) / MS), handled, SAGAS * (STEPS - 1),
                  world.last - world.first);
    assert_int_equal(world.over, SAGAS);
    free(world.queue);
}

/* Every ask is a row that its owner decides on and keeps, and one that is past its pivot never goes back. */
static void an_undo_that_is_refused_for_good_is_asked_for_ever_more_seldom(void **state)
{
    int64_t asking_us = 0;
    int asks = 1;
    (void)state;
    assert_true(sb_children_ask_again_us(0) == 10000 * MS);
    for (; asking_us < 86400LL * 1000 * MS; asks++) {
        int64_t wait_us = sb_children_ask_again_us(asking_us);
        assert_true(wait_us >= 10000 * MS && wait_us <= 300000 * MS);
        asking_us += wait_us;
    }
    assert_in_range(asks, 250, 300); /* of a day; every ten seconds would be 8,640 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silent_undos_do_not_bury_a_slow_participant),
        cmocka_unit_test(an_undo_that_is_refused_for_good_is_asked_for_ever_more_seldom),
    };
    return cmocka_run_group_tests_name("overload", tests, NULL, NULL);
}
