/* SPDX-License-Identifier: Apache-2.0 */
#include "base/breaker.h"
#include "tests/support/assert.h"

#define MS 1000

static void defaults_are_those_of_the_manual(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t ticket;
    sb_breaker_init(&b, NULL);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(sb_breaker_state(&b, 0), SB_BREAKER_CLOSED);
        assert_true(sb_breaker_enter(&b, 0, &ticket));
        sb_breaker_failed(&b, ticket, 0);
    }
    assert_int_equal(sb_breaker_state(&b, 59999 * MS), SB_BREAKER_OPEN);
    assert_false(sb_breaker_enter(&b, 59999 * MS, &ticket));
    assert_true(sb_breaker_wait_us(&b, 59999 * MS) == MS);
    assert_int_equal(sb_breaker_state(&b, 60000 * MS), SB_BREAKER_HALF_OPEN);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sb_breaker_state(&b, 60000 * MS), SB_BREAKER_HALF_OPEN);
        assert_true(sb_breaker_enter(&b, 60000 * MS, &ticket));
        sb_breaker_ticket_t other;
        assert_false(sb_breaker_enter(&b, 60000 * MS, &other)); /* one probe at a time */
        assert_true(sb_breaker_wait_us(&b, 60000 * MS) == INT64_MAX);
        sb_breaker_succeeded(&b, ticket);
    }
    assert_int_equal(sb_breaker_state(&b, 60000 * MS), SB_BREAKER_CLOSED);
    assert_int_equal(b.opened_count, 1);
}

static void only_failures_in_a_row_count(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t ticket;
    sb_breaker_init(&b, NULL);
    for (int i = 0; i < 100; i++) {
        assert_true(sb_breaker_enter(&b, 0, &ticket));
        if (i % 5 == 4)
            sb_breaker_succeeded(&b, ticket);
        else
            sb_breaker_failed(&b, ticket, 0);
    }
    assert_int_equal(sb_breaker_state(&b, 0), SB_BREAKER_CLOSED);
}

static void one_failed_probe_opens_it_for_the_whole_time(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t ticket;
    sb_breaker_init(&b, &(sb_breaker_config_t){.failure_threshold = 1, .recovery_ms = 10});
    assert_true(sb_breaker_enter(&b, 0, &ticket));
    sb_breaker_failed(&b, ticket, 0);
    assert_true(sb_breaker_enter(&b, 10 * MS, &ticket));
    sb_breaker_failed(&b, ticket, 15 * MS);
    assert_false(sb_breaker_enter(&b, 25 * MS - 1, &ticket));
    assert_true(sb_breaker_enter(&b, 25 * MS, &ticket));
    assert_int_equal(b.opened_count, 2);
}

/* A slow call from before it opened says nothing about now: its success must not count as a probe's, and its
 * failure must not open a breaker that has closed since. */
static void a_result_of_an_earlier_state_changes_nothing(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t slow[3], ticket;
    sb_breaker_init(
        &b, &(sb_breaker_config_t){.failure_threshold = 1, .success_threshold = 1, .recovery_ms = 10});
    for (int i = 0; i < 3; i++)
        assert_true(sb_breaker_enter(&b, 0, &slow[i]));
    assert_true(sb_breaker_enter(&b, 0, &ticket));
    sb_breaker_failed(&b, ticket, 0);
    sb_breaker_failed(&b, slow[0], 9 * MS); /* open: does not begin its time anew */
    assert_true(sb_breaker_enter(&b, 10 * MS, &ticket));
    sb_breaker_succeeded(&b, slow[1]);
    assert_int_equal(sb_breaker_state(&b, 10 * MS), SB_BREAKER_HALF_OPEN);
    sb_breaker_succeeded(&b, ticket);
    assert_int_equal(sb_breaker_state(&b, 10 * MS), SB_BREAKER_CLOSED);
    sb_breaker_failed(&b, slow[2], 11 * MS);
    assert_int_equal(sb_breaker_state(&b, 11 * MS), SB_BREAKER_CLOSED);
}

static void a_dropped_probe_makes_room_for_the_next(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t ticket;
    sb_breaker_init(&b, &(sb_breaker_config_t){.failure_threshold = 1, .recovery_ms = 10});
    assert_true(sb_breaker_enter(&b, 0, &ticket));
    sb_breaker_failed(&b, ticket, 0);
    for (int i = 0; i < 100; i++) {
        assert_true(sb_breaker_enter(&b, 10 * MS, &ticket));
        sb_breaker_dropped(&b, ticket);
        assert_int_equal(sb_breaker_state(&b, 10 * MS), SB_BREAKER_HALF_OPEN);
    }
}

static void a_clock_that_goes_back_counts_as_no_time(void **state)
{
    (void)state;
    sb_breaker_t b;
    sb_breaker_ticket_t ticket;
    sb_breaker_init(&b, &(sb_breaker_config_t){.failure_threshold = 1, .recovery_ms = 10});
    assert_true(sb_breaker_enter(&b, 0, &ticket));
    sb_breaker_failed(&b, ticket, 1000 * MS);
    assert_false(sb_breaker_enter(&b, 0, &ticket));
    assert_true(sb_breaker_wait_us(&b, 0) == 10 * MS);
}

/* ---- every sequence of acts, to a depth ---- */

#define DEPTH   9
#define OUT_MAX DEPTH

typedef struct world {
    sb_breaker_t b;
    int64_t now_us;
    sb_breaker_ticket_t out[OUT_MAX];
    int out_count;
} world_t;

static long worlds;

static void check(const world_t *w, const world_t *before)
{
    sb_breaker_state_t state = sb_breaker_state(&w->b, w->now_us);
    int current = 0;
    for (int i = 0; i < w->out_count; i++)
        current += w->out[i].period == w->b.period;
    if (w->b.state == SB_BREAKER_HALF_OPEN) {
        assert_int_equal(w->b.probes, current); /* none is lost, none is counted twice */
        assert_true(w->b.probes <= w->b.config.probes_max);
    } else {
        assert_int_equal(w->b.probes, 0);
    }
    if (state == SB_BREAKER_CLOSED)
        assert_true(w->b.in_a_row < w->b.config.failure_threshold);
    if (state == SB_BREAKER_HALF_OPEN)
        assert_true(w->b.in_a_row < w->b.config.success_threshold);
    /* It never goes from open to closed without a probe, nor from closed to half-open. */
    if (before->b.state == SB_BREAKER_OPEN)
        assert_true(w->b.state != SB_BREAKER_CLOSED);
    if (before->b.state == SB_BREAKER_CLOSED)
        assert_true(w->b.state != SB_BREAKER_HALF_OPEN);
    /* What it says about waiting is what it does. */
    sb_breaker_t copy = w->b;
    sb_breaker_ticket_t ticket;
    assert_true(sb_breaker_enter(&copy, w->now_us, &ticket) == (sb_breaker_wait_us(&w->b, w->now_us) == 0));
    int64_t wait = sb_breaker_wait_us(&w->b, w->now_us);
    if (wait != INT64_MAX) {
        copy = w->b;
        assert_true(sb_breaker_enter(&copy, w->now_us + wait, &ticket));
    }
    if (wait > 0 && wait != INT64_MAX) {
        copy = w->b;
        assert_false(sb_breaker_enter(&copy, w->now_us + wait - 1, &ticket));
    }
    worlds++;
}

static void take_out(world_t *w, int at)
{
    w->out[at] = w->out[--w->out_count];
}

static void explore(const world_t *from, int depth)
{
    if (depth == 0)
        return;
    world_t w = *from;
    if (sb_breaker_enter(&w.b, w.now_us, &w.out[w.out_count])) {
        w.out_count++;
        check(&w, from);
        explore(&w, depth - 1);
    }
    w = *from;
    w.now_us += 5 * MS;
    check(&w, from);
    explore(&w, depth - 1);
    /* The oldest and the newest call that is out may end, in each way. */
    for (int at = 0; at<from->out_count; at += from->out_count> 1 ? from->out_count - 1 : 1) {
        for (int how = 0; how < 3; how++) {
            w = *from;
            sb_breaker_ticket_t ticket = w.out[at];
            take_out(&w, at);
            if (how == 0)
                sb_breaker_succeeded(&w.b, ticket);
            else if (how == 1)
                sb_breaker_failed(&w.b, ticket, w.now_us);
            else
                sb_breaker_dropped(&w.b, ticket);
            check(&w, from);
            explore(&w, depth - 1);
        }
    }
}

static void every_sequence_keeps_the_rules(void **state)
{
    (void)state;
    for (uint32_t probes = 1; probes <= 2; probes++) {
        world_t w = {.now_us = 1};
        sb_breaker_init(&w.b, &(sb_breaker_config_t){.failure_threshold = 2,
                                                     .success_threshold = 2,
                                                     .recovery_ms = 10,
                                                     .probes_max = probes});
        explore(&w, DEPTH);
    }
    assert_true(worlds > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_manual),
        cmocka_unit_test(only_failures_in_a_row_count),
        cmocka_unit_test(one_failed_probe_opens_it_for_the_whole_time),
        cmocka_unit_test(a_result_of_an_earlier_state_changes_nothing),
        cmocka_unit_test(a_dropped_probe_makes_room_for_the_next),
        cmocka_unit_test(a_clock_that_goes_back_counts_as_no_time),
        cmocka_unit_test(every_sequence_keeps_the_rules),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
