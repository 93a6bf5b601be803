/* The participants' module between a played bus and a real HTTP server on the loopback.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/participants.h"

#include "base/clock.h"
#include "saga/contract.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define SEEN_MAX 4000

/* ---- the bus below: remembers what was sent, and hands over the replies it is told to ---- */

typedef struct below {
    int sent;
    struct {
        char topic[64];
        int partition;
        char id[SB_UUID_TEXT];
        char outcome[16];
        char expiry[SB_TIME_TEXT];
    } record[SEEN_MAX];
    sb_message_t reply; /* header_count 0: none */
    bool full;
    int too_large; /* the command of this number is; 0: none */
} below_t;

static sb_slice_t header_of(const sb_header_t *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(headers[i].name, name) == 0)
            return headers[i].value;
    return SB_SLICE_NONE;
}

static void keep_text(char *out, size_t cap, sb_slice_t text)
{
    (void)snprintf(out, cap, "%.*s", SB_SLICE_ARG(text));
}

static sb_code_t below_send(void *context, const sb_record_t *record, sb_error_t *err)
{
    below_t *below = context;
    if (below->full)
        return sb_fail(err, SB_BUSY, "full");
    if (below->too_large && record->tag == (uint64_t)below->too_large)
        return sb_fail(err, SB_TOO_LARGE, "too large");
    assert_true(below->sent < SEEN_MAX);
    int i = below->sent++;
    (void)snprintf(below->record[i].topic, 64, "%s", record->topic);
    below->record[i].partition = record->partition;
    const sb_header_t *h = record->headers;
    size_t n = record->header_count;
    keep_text(below->record[i].id, SB_UUID_TEXT, header_of(h, n, SB_H_ID));
    keep_text(below->record[i].outcome, 16, header_of(h, n, SB_H_OUTCOME));
    keep_text(below->record[i].expiry, SB_TIME_TEXT, header_of(h, n, SB_H_EXPIRY));
    return SB_OK;
}

static sb_code_t below_start(void *bus, sb_producer_failed_fn on_failed, void *context, sb_error_t *err)
{
    (void)bus;
    (void)on_failed;
    (void)context;
    (void)err;
    return SB_OK;
}

static void below_nothing(void *bus)
{
    (void)bus;
}

static sb_code_t below_assign(void *bus, int shard, int64_t offset, const char *cluster, sb_error_t *err)
{
    (void)bus;
    (void)shard;
    (void)offset;
    (void)cluster;
    (void)err;
    return SB_OK;
}

static void below_unassign(void *bus, int shard)
{
    (void)bus;
    (void)shard;
}

static sb_code_t below_poll(void *context, int max, sb_message_fn on_message, void *argument, int *count,
                            bool *reset, sb_error_t *err)
{
    below_t *below = context;
    (void)max;
    (void)reset;
    if (below->reply.header_count == 0)
        return SB_OK;
    sb_code_t code = on_message(argument, &below->reply, err);
    below->reply.header_count = 0;
    *count = 1;
    return code;
}

static int below_fd(void *bus)
{
    (void)bus;
    return -1;
}

static const char *below_cluster(void *bus)
{
    (void)bus;
    return "c";
}

static bool below_connected(void *bus)
{
    (void)bus;
    return true;
}

static sb_code_t below_flush(void *bus, int timeout_ms, sb_error_t *err)
{
    (void)bus;
    (void)timeout_ms;
    (void)err;
    return SB_OK;
}

static const sb_command_bus_t below_operations = {.start = below_start,
                                                  .stop = below_nothing,
                                                  .assign = below_assign,
                                                  .unassign = below_unassign,
                                                  .poll = below_poll,
                                                  .wake_fd = below_fd,
                                                  .cluster = below_cluster,
                                                  .connected = below_connected,
                                                  .send = below_send,
                                                  .serve = below_nothing,
                                                  .flush = below_flush};

/* ---- the stage ---- */

typedef struct stage {
    sb_config_t *config;
    sb_participants_t *participants;
    below_t below;
    sb_peer_t *peer;
    sb_error_t err;

    /* What the orchestrator above was told. */
    int replies, pending;
    struct {
        char id[SB_UUID_TEXT];
        char outcome[16];
        char error[200];
        char class[24];
        char result[64];
        char attempt[8];
        bool attention;
    } reply[SEEN_MAX];
    sb_wanted_t wanted;

    /* How the server answers: by the number of the request, and what it saw. */
    pthread_mutex_t lock;
    int seen;
    struct {
        int64_t at_us;
        char id[SB_UUID_TEXT];
        bool undo;
    } request[SEEN_MAX];
    _Atomic int status; /* of the answers */
    _Atomic int delay_ms;
    _Atomic int how;
    _Atomic int retry_after_s; /* -1: none */
} stage_t;

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    stage_t *s = context;
    (void)pthread_mutex_lock(&s->lock);
    if (s->seen < SEEN_MAX) {
        s->request[s->seen].at_us = sb_mono_us();
        keep_text(s->request[s->seen].id, SB_UUID_TEXT, sb_peer_header(request, "ce-id"));
        s->request[s->seen].undo = sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "compensate");
        s->seen++;
    }
    (void)pthread_mutex_unlock(&s->lock);
    answer->status = s->status;
    answer->delay_ms = s->delay_ms;
    answer->how = (sb_peer_how_t)s->how;
    if (s->retry_after_s >= 0)
        (void)snprintf(answer->headers, sizeof answer->headers, "Retry-After: %d\r\n", s->retry_after_s);
    sb_buf_add_text(&answer->body, "{\"ok\":1}");
}

static sb_wanted_t wanted(void *context, uint64_t tag, sb_slice_t step, bool undo, uint16_t round)
{
    (void)tag;
    (void)undo;
    assert_slice(step, "pay");
    assert_int_equal(round, 1);
    return ((stage_t *)context)->wanted;
}

static void set(stage_t *s, const char *name, const char *value)
{
    assert_ok(sb_config_set(s->config, name, value, &s->err), &s->err);
}

/* Settings are set before. */
static void open_stage(stage_t *s)
{
    assert_ok(
        sb_participants_new(&s->participants, s->config, &below_operations, &s->below, wanted, s, &s->err),
        &s->err);
    assert_ok(sb_participants_operations.start(s->participants, NULL, NULL, &s->err), &s->err);
    assert_ok(sb_participants_operations.assign(s->participants, 0, 0, "c", &s->err), &s->err);
}

static int set_up(void **state)
{
    stage_t *s = calloc(1, sizeof *s);
    assert_non_null(s);
    (void)pthread_mutex_init(&s->lock, NULL);
    s->status = 200;
    s->retry_after_s = -1;
    s->peer = sb_peer_start(0, play, s);
    assert_ok(sb_config_new(&s->config, &s->err), &s->err);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    stage_t *s = *state;
    if (s->participants)
        sb_participants_operations.stop(s->participants);
    sb_participants_free(&s->participants);
    sb_peer_stop(&s->peer);
    sb_config_free(&s->config);
    free(s);
    return 0;
}

static void set_url(stage_t *s)
{
    char url[64];
    (void)snprintf(url, sizeof url, "http://user:pass@127.0.0.1:%d/pay?key=1", sb_peer_port(s->peer));
    set(s, "participant.pay.url", url);
}

static sb_code_t on_message(void *context, const sb_message_t *m, sb_error_t *err)
{
    stage_t *s = context;
    (void)err;
    const sb_header_t *h = m->headers;
    size_t n = m->header_count;
    if (sb_slice_is(header_of(h, n, SB_H_OUTCOME), "pending")) {
        s->pending++;
        return SB_OK;
    }
    assert_true(s->replies < SEEN_MAX);
    int i = s->replies++;
    keep_text(s->reply[i].id, SB_UUID_TEXT, header_of(h, n, SB_H_CAUSATION));
    keep_text(s->reply[i].outcome, 16, header_of(h, n, SB_H_OUTCOME));
    keep_text(s->reply[i].error, 200, header_of(h, n, SB_H_ERROR));
    keep_text(s->reply[i].class, 24, header_of(h, n, SB_H_ERROR_CLASS));
    keep_text(s->reply[i].attempt, 8, header_of(h, n, SB_H_ATTEMPT));
    keep_text(s->reply[i].result, 64, m->value);
    s->reply[i].attention = header_of(h, n, SB_H_ATTENTION).ptr != NULL;
    return SB_OK;
}

/* A turn of the orchestrator: sleep until woken, then collect. */
static void turn(stage_t *s)
{
    int count = 0;
    bool reset = false;
    struct pollfd fd = {.fd = sb_participants_operations.wake_fd(s->participants), .events = POLLIN};
    (void)poll(&fd, 1, 20);
    assert_ok(sb_participants_operations.poll(s->participants, 2000, on_message, s, &count, &reset, &s->err),
              &s->err);
    sb_participants_operations.serve(s->participants);
}

#define turn_until(stage, condition, expected_ms)                                                            \
    do {                                                                                                     \
        int64_t until_ = sb_test_mono_ms() + (expected_ms)*SB_TEST_PATIENCE;                                 \
        while (!(condition) && sb_test_mono_ms() < until_)                                                   \
            turn(stage);                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("not within %d ms: %s", (int)(expected_ms), #condition);                                \
    } while (0)

static void turn_for(stage_t *s, int64_t ms)
{
    int64_t until = sb_test_mono_ms() + ms;
    while (sb_test_mono_ms() < until)
        turn(s);
}

static sb_code_t command(stage_t *s, const char *participant, int n, bool undo, int attempt,
                         int64_t patience_ms)
{
    char topic[64], id[SB_UUID_TEXT], saga[SB_UUID_TEXT], type[64], tries[8], expiry[SB_TIME_TEXT];
    sb_uuid_t command_id = {{(uint8_t)n, (uint8_t)(n >> 8), 9, undo}};
    sb_uuid_t saga_id = {{7, (uint8_t)n}};
    (void)snprintf(topic, sizeof topic, "cmd.%s", participant);
    (void)snprintf(type, sizeof type, "%s.do", participant);
    (void)snprintf(tries, sizeof tries, "%d", attempt);
    sb_header_t headers[] = {
        {SB_H_SPECVERSION, SB_SLICE("1.0")},
        {SB_H_ID, sb_slice(sb_uuid_format(&command_id, id))},
        {SB_H_TYPE, sb_slice(type)},
        {SB_H_SAGA_ID, sb_slice(sb_uuid_format(&saga_id, saga))},
        {SB_H_SAGA_STEP, SB_SLICE("pay")},
        {SB_H_DIRECTION, undo ? SB_SLICE("compensate") : SB_SLICE("forward")},
        {SB_H_ROUND, SB_SLICE("1")},
        {SB_H_ATTEMPT, sb_slice(tries)},
        {SB_H_REPLY_TO, SB_SLICE("saga.replies")},
        {SB_H_REPLY_PART, SB_SLICE("0")},
        {SB_H_EXPIRY, sb_slice(sb_time_format(sb_wall_us() + patience_ms * 1000, expiry))}};
    sb_record_t record = {.topic = topic,
                          .partition = -1,
                          .key = sb_slice(saga),
                          .value = SB_SLICE("{\"a\":1}"),
                          .headers = headers,
                          .header_count = sizeof headers / sizeof headers[0],
                          .tag = (uint64_t)n,
                          .patience_us = patience_ms * 1000};
    return sb_participants_operations.send(s->participants, &record, &s->err);
}

static void send_ok(stage_t *s, int n, bool undo, int attempt, int64_t patience_ms)
{
    assert_ok(command(s, "pay", n, undo, attempt, patience_ms), &s->err);
}

static sb_participant_state_t state_of(stage_t *s, const char *name)
{
    sb_participant_state_t all[SB_PARTICIPANTS_MAX];
    turn_for(s, 210); /* what is told is refreshed five times a second */
    size_t count = sb_participants_list(s->participants, all, SB_PARTICIPANTS_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i];
    fail_msg("no participant %s", name);
    return all[0];
}

static int seen(stage_t *s)
{
    (void)pthread_mutex_lock(&s->lock);
    int n = s->seen;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

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
    s->delay_ms = 300;
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
    send_ok(s, 1, false, 1, 300);
    turn_until(s, seen(s) >= 5, 20000);
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
    set(s, "participant.pay.wait_ms", "300");
    open_stage(s);
    s->status = 202;
    s->retry_after_s = 1;
    send_ok(s, 1, false, 1, 60000);
    turn_until(s, seen(s) == 1, 20000);
    s->status = 200;
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
    assert_int_equal(seen(s), 2);
    assert_int_equal(state_of(s, "pay").gave_up, 0);
}

static void retry_after_is_obeyed_by_all(void **state)
{
    stage_t *s = *state;
    set_url(s);
    open_stage(s);
    s->status = 503;
    s->retry_after_s = 1;
    send_ok(s, 1, false, 1, 20000);
    turn_until(s, seen(s) == 1, 20000);
    turn_for(s, 50);
    s->status = 200;
    s->retry_after_s = -1;
    for (int n = 2; n <= 5; n++)
        send_ok(s, n, n % 2, 1, 20000);
    turn_until(s, s->replies == 5, 20000);
    assert_int_equal(seen(s), 6);
    for (int i = 1; i < 6; i++)
        assert_true(s->request[i].at_us - s->request[0].at_us >= 990000);
    assert_int_equal(state_of(s, "pay").breaker_opened, 0); /* it paced itself */
}

static void a_late_answer_is_an_unknown_outcome(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.timeout_ms", "100");
    open_stage(s);
    s->delay_ms = 600;
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

static void fail_until_open(stage_t *s, int failures)
{
    s->status = 500;
    for (int n = 0; n < failures; n++) {
        send_ok(s, 900 + n, false, 1, 20000);
        turn_until(s, s->replies == n + 1, 20000);
    }
}

/* Waiting for an open breaker costs a command none of its tries: the machine's clock is held. */
static void an_open_breaker_delays_and_does_not_fail(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "3");
    set(s, "participant.pay.breaker.successes", "2");
    set(s, "participant.pay.breaker.recovery_ms", "400");
    open_stage(s);
    fail_until_open(s, 3);
    int before = seen(s), replies = s->replies;
    for (int n = 1; n <= 10; n++)
        send_ok(s, n, n > 5, 1, 200); /* five undos among them */
    sb_participant_state_t told = state_of(s, "pay");
    assert_string_equal(told.breaker, "open");
    assert_int_equal(told.waiting, 10);
    assert_true(told.retry_in_ms > 0 && told.retry_in_ms <= 400);
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
}

static void a_pause_costs_no_try(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.wait_ms", "300");
    open_stage(s);
    s->wanted = SB_WANTED_LATER;
    send_ok(s, 1, false, 1, 2000);
    turn_for(s, 1300);
    assert_int_equal(s->replies + s->pending, 0);
    s->wanted = SB_WANTED;
    turn_until(s, s->replies == 1, 20000);
    assert_string_equal(s->reply[0].outcome, "success");
}

static void what_nobody_wants_any_more_is_dropped(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.breaker.failures", "1");
    set(s, "participant.pay.breaker.recovery_ms", "300");
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

/* The shard went to another instance while the call was out: its answer goes to the shard's partition. */
static void an_answer_reaches_the_new_owner_of_the_shard(void **state)
{
    stage_t *s = *state;
    set_url(s);
    set(s, "participant.pay.concurrency", "2");
    set(s, "participant.pay.critical_percent", "0");
    open_stage(s);
    s->delay_ms = 200;
    for (int n = 1; n <= 4; n++)
        send_ok(s, n, false, 1, 20000);
    turn_until(s, seen(s) == 2, 20000);
    sb_participants_operations.unassign(s->participants, 0);
    s->below.full = true; /* the producer's queue, for a while */
    turn_for(s, 300);
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

/* ---- over Kafka ---- */

static void reply_to(stage_t *s, int i, const char *outcome)
{
    static char causation[SB_UUID_TEXT], type[64];
    (void)snprintf(causation, sizeof causation, "%s", s->below.record[i].id);
    (void)snprintf(type, sizeof type, "%s.do.reply", s->below.record[i].topic + 4);
    s->below.reply = (sb_message_t){.partition = 0, .header_count = 3};
    s->below.reply.headers[0] = (sb_header_t){SB_H_TYPE, sb_slice(type)};
    s->below.reply.headers[1] = (sb_header_t){SB_H_OUTCOME, sb_slice(outcome)};
    s->below.reply.headers[2] = (sb_header_t){SB_H_CAUSATION, sb_slice(causation)};
    turn(s);
}

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

static void a_reply_that_never_comes_frees_its_place(void **state)
{
    stage_t *s = *state;
    set(s, "participant.mail.concurrency", "1");
    open_stage(s);
    assert_ok(command(s, "mail", 1, false, 1, 100), &s->err);
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
    assert_int_equal(s->below.sent, 5);
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_call_answers_like_a_reply),
        CASE(a_repeat_of_what_is_out_is_no_second_call),
        CASE(a_step_still_working_is_asked_again),
        CASE(working_without_end_is_a_failed_try),
        CASE(the_time_it_asked_for_is_no_wait),
        CASE(retry_after_is_obeyed_by_all),
        CASE(a_late_answer_is_an_unknown_outcome),
        CASE(a_call_takes_no_longer_than_the_step),
        CASE(a_server_killed_in_mid_call_is_an_unknown_outcome),
        CASE(an_open_breaker_delays_and_does_not_fail),
        CASE(waiting_has_an_end),
        CASE(a_pause_costs_no_try),
        CASE(what_nobody_wants_any_more_is_dropped),
        CASE(places_are_kept_for_undos),
        CASE(a_neighbour_that_is_silent_takes_no_places),
        CASE(repeats_stay_within_their_budget),
        CASE(an_answer_reaches_the_new_owner_of_the_shard),
        CASE(a_stop_does_not_wait_for_calls),
        CASE(too_many_waiting_commands_are_refused),
        CASE(a_sick_participant_leaves_room_for_the_others),
        CASE(a_participant_without_settings_is_passed_through),
        CASE(commands_that_are_out_over_kafka_are_bounded),
        CASE(a_command_that_cannot_be_sent_holds_up_no_other),
        CASE(a_reply_that_never_comes_frees_its_place),
        CASE(a_rate_spreads_commands),
        CASE(bad_settings_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("participants", tests, NULL, NULL);
}
