/* Participants over HTTP and over Kafka: what becomes of a command, and of its answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/participants_stage.h"

#include <stdio.h>
#include <string.h>

/* ---- over HTTP ---- */

static void a_call_answers_like_a_reply(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
    assert_string_equal(s->reply[0].result, "{\"ok\":1}");
    assert_string_equal(s->reply[0].id, s->request[0].id);
    assert_int_equal(s->below.sent, 0);
    s->status = 404;
    send_ok(s, 2, false, 1, 20000);
    turn_until(s, s->replies == 2, 20000);
    assert_string_equal(s->reply[1].outcome, "error");
    assert_true(s->reply[1].attention);
    sb_participant_state_t told = state_of(s, "pay");
    assert_true(told.http);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/pay", sb_peer_port(s->peer));
    assert_string_equal(told.url, url); /* nothing secret of it */
    assert_int_equal(told.sent, 2);
    assert_int_equal(told.succeeded, 1);
    assert_int_equal(told.errors, 1);
    assert_string_equal(told.breaker, "closed");
    assert_contains(told.error, "HTTP 404");
}

/* The try ended for the machine while its call was out: the second try is not a second call, and the answer
 * is that of the last try. */
static void a_repeat_of_what_is_out_is_no_second_call(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->delay_ms = 1000;
    for (int attempt = 1; attempt <= 5; attempt++)
        send_ok(s, 1, false, attempt, 20000);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].attempt, "5");
    turn_for(s, 100);
    assert_int_equal(seen(s), 1);
    assert_int_equal(s->replies, 1);
}

static void a_step_still_working_is_asked_again(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->status = 202;
    s->retry_after_s = 0;
    int64_t begin = sb_test_mono_ms();
    send_ok(s, 1, false, 1, 1500);
    turn_until(s, seen(s) >= 5 && sb_test_mono_ms() - begin > 2000, 20000);
    assert_int_equal(s->replies, 0);
    assert_true(s->pending > 0); /* the machine's clock was held */
    s->status = 201;
    s->retry_after_s = -1;
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
    for (int i = 1; i < s->seen; i++)
        assert_string_equal(s->request[i].id, s->request[0].id);
}

static void working_without_end_is_a_failed_try(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.working_ms", "1000");
    open_stage(s);
    s->status = 202;
    s->retry_after_s = 0;
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "error");
    assert_contains(s->reply[0].error, "working_ms");
}

/* It said when to ask again: until then it does not wait for its turn. */
static void the_time_it_asked_for_is_no_wait(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.wait_ms", "1200");
    open_stage(s);
    s->status = 202;
    s->retry_after_s = 2;
    send_ok(s, 1, false, 1, 60000);
    turn_until(s, seen(s) == 1, 20000);
    s->status = 200;
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
    assert_int_equal(seen(s), 2);
    assert_int_equal(state_of(s, "pay").gave_up, 0);
}

static void a_late_answer_is_an_unknown_outcome(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.timeout_ms", "1000");
    open_stage(s);
    s->delay_ms = 2500;
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "error");
    assert_string_equal(s->reply[0].class, "infrastructure");
    s->delay_ms = 0;
    send_ok(s, 1, false, 2, 20000); /* under the same id */
    turn_until(s, s->replies == 2, 20000);
    assert_string_equal(s->reply[1].outcome, "success");
    assert_string_equal(s->request[0].id, s->request[1].id);
}

/* A step's own time cuts a call short, so that the try ends by what the call says. */
static void a_call_takes_no_longer_than_the_step(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->how = SB_PEER_SILENT;
    int64_t begin = sb_test_mono_ms();
    send_ok(s, 1, false, 1, 300);
    turn_until(s, s->replies == 1, 20000);
    assert_true(sb_test_mono_ms() - begin >= 290);
    assert_string_equal(s->reply[0].outcome, "error");
}

static void a_server_killed_in_mid_call_is_an_unknown_outcome(void **state)
{
    stage_t *s = *state;
    int port = sb_peer_port(s->peer);
    set_url(s);
    open_stage(s);
    s->how = SB_PEER_SILENT;
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, seen(s) == 1, 20000);
    sb_peer_stop(&s->peer);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "error");
    /* Down: nothing is sent, nothing is unknown, the command waits. */
    send_ok(s, 1, false, 2, 20000);
    turn_for(s, 700);
    assert_int_equal(s->replies, 1);
    s->how = SB_PEER_ANSWER;
    s->peer = sb_peer_start(port, play, s);
    turn_until(s, s->replies == 2, 20000);
    assert_string_equal(s->reply[1].outcome, "success");
}

static void a_pause_costs_no_try(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.wait_ms", "1000");
    open_stage(s);
    s->wanted = SB_WANTED_LATER;
    send_ok(s, 1, false, 1, 20000);
    turn_for(s, 2500);
    assert_int_equal(s->replies + s->pending, 0);
    s->wanted = SB_WANTED;
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
}

/* The shard went to another instance while the call was out: its answer goes to the shard's partition. */
static void an_answer_reaches_the_new_owner_of_the_shard(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.concurrency", "2");
    set(s, "participant.pay.critical_percent", "0");
    open_stage(s);
    s->delay_ms = 1000;
    for (int n = 1; n <= 4; n++)
        send_ok(s, n, false, 1, 20000);
    turn_until(s, seen(s) == 2, 20000);
    sb_participants_operations.unassign(s->participants, 0);
    s->below.full = true; /* the producer's queue, for a while */
    turn_for(s, 1300);
    s->below.full = false;
    turn_until(s, s->below.sent == 2, 20000);
    assert_int_equal(s->replies, 0);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(s->below.record[i].topic, "saga.replies");
        assert_int_equal(s->below.record[i].partition, 0);
        assert_string_equal(s->below.record[i].outcome, "success");
    }
    turn_for(s, 200);
    assert_int_equal(seen(s), 2); /* what waited is the new owner's to send */
    assert_int_equal(state_of(s, "pay").waiting, 0);
}

static void a_stop_does_not_wait_for_calls(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->how = SB_PEER_SILENT;
    for (int n = 1; n <= 10; n++)
        send_ok(s, n, false, 1, 60000);
    turn_until(s, seen(s) == 10, 20000);
    int64_t begin = sb_test_mono_ms();
    sb_participants_operations.stop(s->participants);
    assert_true(sb_test_mono_ms() - begin < 30000);
    assert_ok(sb_participants_operations.start(s->participants, NULL, NULL, &s->err), &s->err);
    assert_int_equal(state_of(s, "pay").out, 0);
}

/* ---- over Kafka ---- */

static void a_participant_without_settings_is_passed_through(void **state)
{
    stage_t *s = *state;
    open_stage(s);
    for (int n = 0; n < 50; n++)
        assert_ok(command(s, "mail", n, false, 1, 1000), &s->err);
    assert_int_equal(s->below.sent, 50);
    reply_to(s, 0, "success");
    reply_to(s, 1, "failure");
    assert_int_equal(s->replies, 2);
    sb_participant_state_t told = state_of(s, "mail");
    assert_int_equal(told.sent, 50);
    assert_int_equal(told.succeeded, 1);
    assert_int_equal(told.refused, 1);
    assert_false(told.http);
    assert_null(told.breaker);
}

static void a_command_that_cannot_be_sent_holds_up_no_other(void **state)
{
    stage_t *s = *state;
    set(s, "participant.pay.concurrency", "1");
    set(s, "participant.pay.wait_ms", "400");
    open_stage(s);
    s->below.too_large = 1;
    send_ok(s, 1, false, 1, 60000);
    send_ok(s, 2, false, 1, 60000);
    assert_int_equal(s->below.sent, 1);
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "error");
    assert_contains(s->reply[0].error, "too large");
}

/* ---- settings ---- */

static void bad_settings_are_refused_by_name(void **state)
{
    stage_t *s = *state;
    static const char *const bad[][2] = {{"participant.pay.url", "ftp://x"},
                                         {"participant.pay.url", "pay:80"},
                                         {"participant.pay.url", "http://u:hidden@:80"},
                                         {"participant.pay.url", "http://pay/hidden#a"},
                                         {"participant.pay.timeout_ms", "0"},
                                         {"participant.pay.critical_percent", "95"},
                                         {"participant.pay.rate", "many"},
                                         {"participant.pay.secret", "c2hvcnQ="},
                                         {"participant.pay.secret", "whsec_no base64"},
                                         {"participant.pay.breaker.failures", "0"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sb_config_t *config = NULL;
        sb_participants_t *participants = NULL;
        assert_ok(sb_config_new(&config, &s->err), &s->err);
        assert_ok(sb_config_set(config, bad[i][0], bad[i][1], &s->err), &s->err);
        assert_code(
            SB_INVALID,
            sb_participants_new(&participants, config, &below_operations, &s->below, wanted, s, &s->err),
            &s->err);
        assert_contains(s->err.message, bad[i][0]);
        assert_null(strstr(s->err.message, "hidden")); /* a URL may hold a password, or a token */
        assert_null(participants);
        sb_config_free(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_call_answers_like_a_reply),
        CASE(a_repeat_of_what_is_out_is_no_second_call),
        CASE(a_step_still_working_is_asked_again),
        CASE(working_without_end_is_a_failed_try),
        CASE(the_time_it_asked_for_is_no_wait),
        CASE(a_late_answer_is_an_unknown_outcome),
        CASE(a_call_takes_no_longer_than_the_step),
        CASE(a_server_killed_in_mid_call_is_an_unknown_outcome),
        CASE(a_pause_costs_no_try),
        CASE(an_answer_reaches_the_new_owner_of_the_shard),
        CASE(a_stop_does_not_wait_for_calls),
        CASE(a_participant_without_settings_is_passed_through),
        CASE(a_command_that_cannot_be_sent_holds_up_no_other),
        CASE(bad_settings_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("participants", tests, NULL, NULL);
}
