/* What protects a participant, and the others from one that is sick: breaker, places, budget, rate, room for
 * what waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "tests/unit/participants_stage.h"

#include <stdio.h>
#include <string.h>

static void retry_after_is_obeyed_by_all(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->status = 503;
    s->retry_after_s = 2;
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, state_of(s, "pay").waiting == 1, 20000); /* the answer has come, too */
    assert_int_equal(seen(s), 1);
    sb_participant_state_t told = state_of(s, "pay");
    assert_string_equal(told.held_by, "retry_after");
    assert_in_range(told.held_until_us - sb_wall_us(), 1, 2000000);
    s->status = 200;
    s->retry_after_s = -1;
    for (int n = 2; n <= 5; n++)
        send_ok(s, n, n % 2, 1, 20000);
    turn_until(s, s->replies == 5, 20000);
    assert_int_equal(seen(s), 6);
    for (int i = 1; i < 6; i++)
        assert_true(s->request[i].at_us - s->request[0].at_us >= 1990000);
    assert_int_equal(state_of(s, "pay").breaker_opened, 0); /* it paced itself */
    turn_until(s, state_of(s, "pay").held_by == NULL, 20000);
    assert_int_equal(state_of(s, "pay").held_until_us, 0);
}

/* Waiting for an open breaker costs a command none of its tries: the machine's clock is held. */
static void an_open_breaker_delays_and_does_not_fail(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "3");
    set(s, "participant.pay.breaker.successes", "2");
    set(s, "participant.pay.breaker.recovery_ms", "2000");
    open_stage(s);
    fail_until_open(s, 3);
    int before = seen(s), replies = s->replies;
    for (int n = 1; n <= 10; n++)
        send_ok(s, n, n > 5, 1, 200); /* five undos among them */
    sb_participant_state_t told = state_of(s, "pay");
    assert_string_equal(told.breaker, "open");
    assert_int_equal(told.waiting, 10);
    assert_true(told.retry_in_ms > 0 && told.retry_in_ms <= 2000);
    assert_string_equal(told.held_by, "breaker");
    assert_int_equal(seen(s), before);
    assert_int_equal(s->replies, replies);
    assert_true(s->pending >= 10);
    /* One probe, ill again: open for another time. */
    turn_until(s, seen(s) == before + 1, 20000);
    turn_for(s, 100);
    assert_int_equal(seen(s), before + 1);
    assert_true(s->request[before].undo); /* undos first */
    s->status = 200;
    turn_until(s, s->replies == replies + 10, 20000);
    turn_until(s, state_of(s, "pay").waiting == 0 && state_of(s, "pay").out == 0, 20000);
    assert_string_equal(state_of(s, "pay").breaker, "closed");
    int successes = 0;
    for (int i = replies; i < s->replies; i++)
        successes += strcmp(s->reply[i].outcome, "success") == 0;
    assert_int_equal(successes, 9); /* and the probe that failed: the machine tries that one again */
}

static void waiting_has_an_end(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "1");
    set(s, "participant.pay.wait_ms", "400");
    open_stage(s);
    fail_until_open(s, 1);
    send_ok(s, 1, true, 1, 20000);
    turn_until(s, s->replies == 2, 20000);
    assert_string_equal(s->reply[1].outcome, "error");
    assert_string_equal(s->reply[1].class, "infrastructure");
    assert_contains(s->reply[1].error, "circuit breaker is open");
    assert_contains(s->reply[1].error, "HTTP 500");
    assert_int_equal(state_of(s, "pay").gave_up, 1);
    assert_string_equal(state_of(s, "pay").error, "HTTP 500"); /* what it said, not what was said of it */
    send_ok(s, 2, true, 1, 20000);
    turn_until(s, s->replies == 3, 20000);
    const char *told = s->reply[2].error;
    assert_contains(told, "HTTP 500");
    assert_null(strstr(strstr(told, "was not called") + 1, "was not called"));
}

static void a_repeat_that_waits_for_the_budget_says_so(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.retry_percent", "1");
    set(s, "participant.pay.wait_ms", "400");
    open_stage(s);
    for (int n = 1; n <= 40; n++)
        send_ok(s, n, false, 2, 60000); /* second tries, and ten a second may go */
    turn_until(s, state_of(s, "pay").gave_up > 0, 20000);
    int at = 0;
    while (at < s->replies && strcmp(s->reply[at].outcome, "success") == 0)
        at++;
    assert_contains(s->reply[at].error, "its budget for repeats is used up");
}

static void what_nobody_wants_any_more_is_dropped(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "1");
    set(s, "participant.pay.breaker.recovery_ms", "1500");
    open_stage(s);
    fail_until_open(s, 1);
    s->status = 200;
    for (int n = 1; n <= 3; n++)
        send_ok(s, n, false, 1, 20000);
    s->wanted = SB_UNWANTED;
    turn_until(s, state_of(s, "pay").waiting == 0, 20000);
    assert_int_equal(seen(s), 1);
    s->wanted = SB_WANTED_LATER; /* its saga is paused */
    send_ok(s, 4, false, 1, 20000);
    turn_for(s, 500);
    assert_int_equal(seen(s), 1);
    s->wanted = SB_WANTED;
    turn_until(s, s->replies == 2, 20000);
}

static void places_are_kept_for_undos(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.concurrency", "5");
    set(s, "participant.pay.critical_percent", "40");
    open_stage(s);
    s->how = SB_PEER_SILENT;
    for (int n = 1; n <= 20; n++)
        send_ok(s, n, false, 1, 60000);
    turn_until(s, seen(s) == 3, 20000);
    turn_for(s, 200);
    assert_int_equal(seen(s), 3);
    s->how = SB_PEER_ANSWER;
    send_ok(s, 21, true, 1, 60000);
    turn_until(s, s->replies == 1, 20000);
    assert_true(s->request[3].undo);
    sb_participant_state_t told = state_of(s, "pay");
    assert_int_equal(told.waiting, 17);
    assert_int_equal(told.out, 3);
}

/* Two participants behind one address: the one's places are not the other's. */
static void a_neighbour_that_is_silent_takes_no_places(void **state)
{
    stage_t *s = *state;
    char url[64];
    set_url(s);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/ship", sb_peer_port(s->peer));
    set(s, "participant.ship.url", url);
    set(s, "participant.pay.concurrency", "2");
    set(s, "participant.pay.critical_percent", "0");
    set(s, "participant.pay.timeout_ms", "60000");
    set(s, "participant.ship.concurrency", "2");
    set(s, "participant.ship.timeout_ms", "8000");
    open_stage(s);
    s->how = SB_PEER_SILENT;
    send_ok(s, 1, false, 1, 60000);
    send_ok(s, 2, false, 1, 60000);
    turn_until(s, seen(s) == 2, 20000);
    s->how = SB_PEER_ANSWER;
    assert_ok(command(s, "ship", 3, false, 1, 60000), &s->err);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
}

static void repeats_stay_within_their_budget(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.retry_percent", "10");
    set(s, "participant.pay.breaker.failures", "1000");
    open_stage(s);
    for (int n = 1; n <= 100; n++)
        send_ok(s, n, false, 1, 60000);
    turn_until(s, s->replies == 100, 20000);
    int64_t begin = sb_test_mono_ms();
    for (int n = 1; n <= 100; n++)
        send_ok(s, 200 + n, false, 2, 60000); /* a storm of second tries: ten by the budget, ten a second */
    turn_until(s, s->replies >= 125, 20000);
    assert_true(sb_test_mono_ms() - begin >= 400);
    assert_in_range(state_of(s, "pay").repeats, 25, 60);
}

static void too_many_waiting_commands_are_refused(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "1");
    open_stage(s);
    fail_until_open(s, 1);
    int taken = 0;
    while (taken < 20000 && command(s, "pay", taken, false, 1, 600000) == SB_OK)
        taken++;
    assert_int_equal(taken, 10000);
    assert_code(SB_BUSY, command(s, "pay", taken, false, 1, 600000), &s->err);
    send_ok(s, 5, false, 2, 600000); /* a repeat has its room */
}

/* One that is sick fills its own share, and then the healthy ones still have theirs. */
static void a_sick_participant_leaves_room_for_the_others(void **state)
{
    stage_t *s = *state;
    char url[64];
    set_url(s);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/ship", sb_peer_port(s->peer));
    set(s, "participant.ship.url", url);
    set(s, "participant.pay.breaker.failures", "1");
    open_stage(s);
    fail_until_open(s, 1);
    int taken = 0;
    while (taken < 20000 && command(s, "pay", taken, false, 1, 600000) == SB_OK)
        taken++;
    assert_int_equal(taken, 5000);
    s->status = 200;
    for (int n = 0; n < 100; n++)
        assert_ok(command(s, "ship", 30000 + n, false, 1, 600000), &s->err);
    turn_until(s, s->replies == 101, 20000);
    assert_string_equal(s->reply[100].outcome, "success");
}

static void commands_that_are_out_over_kafka_are_bounded(void **state)
{
    stage_t *s = *state;
    set(s, "participant.mail.concurrency", "3");
    set(s, "participant.mail.critical_percent", "0");
    open_stage(s);
    for (int n = 1; n <= 6; n++)
        assert_ok(command(s, "mail", n, false, 1, 60000), &s->err);
    assert_int_equal(s->below.sent, 3);
    assert_ok(command(s, "mail", 1, false, 2, 60000),
              &s->err); /* the machine sends again: it has its place */
    assert_int_equal(s->below.sent, 4);
    reply_to(s, 0, "pending");
    assert_int_equal(s->below.sent, 4);
    reply_to(s, 0, "success");
    assert_int_equal(s->below.sent, 5);
    reply_to(s, 1, "error");
    reply_to(s, 1, "error"); /* a repeat frees nothing more */
    turn_for(s, 150);
    assert_int_equal(s->below.sent, 6);
    assert_int_equal(state_of(s, "mail").out, 3);
}

static void a_reply_that_never_comes_frees_its_place(void **state)
{
    stage_t *s = *state;
    set(s, "participant.mail.concurrency", "1");
    open_stage(s);
    assert_ok(command(s, "mail", 1, false, 1, 1000), &s->err);
    assert_ok(command(s, "mail", 2, false, 1, 60000), &s->err);
    assert_int_equal(s->below.sent, 1);
    turn_until(s, s->below.sent == 2, 20000);
}

static void a_rate_spreads_commands(void **state)
{
    stage_t *s = *state;
    set(s, "participant.mail.rate", "50");
    set(s, "participant.mail.burst", "5");
    open_stage(s);
    int64_t begin = sb_test_mono_ms();
    for (int n = 1; n <= 30; n++)
        assert_ok(command(s, "mail", n, false, 1, 200), &s->err);
    assert_in_range(s->below.sent, 5, 6 + (sb_test_mono_ms() - begin) / 20);
    turn_until(s, s->below.sent == 30, 20000);
    assert_true(sb_test_mono_ms() - begin >= 480);
    assert_true(s->pending > 0);
    /* What has waited has a new time until which its answer is waited for. */
    assert_true(strcmp(s->below.record[29].expiry, s->below.record[0].expiry) > 0);
    s->below.full = true;
    assert_ok(command(s, "mail", 31, false, 1, 60000), &s->err);
    turn_for(s, 150);
    s->below.full = false;
    turn_until(s, s->below.sent == 31, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(retry_after_is_obeyed_by_all),
        CASE(an_open_breaker_delays_and_does_not_fail),
        CASE(waiting_has_an_end),
        CASE(a_repeat_that_waits_for_the_budget_says_so),
        CASE(what_nobody_wants_any_more_is_dropped),
        CASE(places_are_kept_for_undos),
        CASE(a_neighbour_that_is_silent_takes_no_places),
        CASE(repeats_stay_within_their_budget),
        CASE(too_many_waiting_commands_are_refused),
        CASE(a_sick_participant_leaves_room_for_the_others),
        CASE(commands_that_are_out_over_kafka_are_bounded),
        CASE(a_reply_that_never_comes_frees_its_place),
        CASE(a_rate_spreads_commands),
    };
    return cmocka_run_group_tests_name("participant_protection", tests, NULL, NULL);
}
