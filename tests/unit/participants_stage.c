/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/participants_stage.h"

#include "saga/contract.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    stage_t *s = context;
    (void)pthread_mutex_lock(&s->lock);
    /* First: a test that has seen the request says how the next one is answered. */
    answer->status = s->status;
    answer->delay_ms = s->delay_ms;
    answer->how = (sb_peer_how_t)s->how;
    if (s->retry_after_s >= 0)
        (void)snprintf(answer->headers, sizeof answer->headers, "Retry-After: %d\r\n", s->retry_after_s);
    if (s->seen < SEEN_MAX) {
        s->request[s->seen].at_us = sb_mono_us();
        keep_text(s->request[s->seen].id, SB_UUID_TEXT, sb_peer_header(request, "ce-id"));
        s->request[s->seen].undo = sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "compensate");
        s->seen++;
    }
    (void)pthread_mutex_unlock(&s->lock);
    sb_buf_add_text(&answer->body, "{\"ok\":1}");
}

sb_wanted_t wanted(void *context, uint64_t tag, sb_slice_t step, bool undo, uint16_t round)
{
    (void)tag;
    (void)undo;
    assert_slice(step, "pay");
    assert_int_equal(round, 1);
    return ((stage_t *)context)->wanted;
}

void set(stage_t *s, const char *name, const char *value)
{
    assert_ok(sb_config_set(s->config, name, value, &s->err), &s->err);
}

void open_stage(stage_t *s)
{
    assert_ok(
        sb_participants_new(&s->participants, s->config, &below_operations, &s->below, wanted, s, &s->err),
        &s->err);
    assert_ok(sb_participants_operations.start(s->participants, NULL, NULL, &s->err), &s->err);
    assert_ok(sb_participants_operations.assign(s->participants, 0, 0, "c", &s->err), &s->err);
}

int set_up(void **state)
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

int tear_down(void **state)
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

void set_url(stage_t *s)
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

void turn(stage_t *s)
{
    int count = 0;
    bool reset = false;
    struct pollfd fd = {.fd = sb_participants_operations.wake_fd(s->participants), .events = POLLIN};
    (void)poll(&fd, 1, 20);
    assert_ok(sb_participants_operations.poll(s->participants, 2000, on_message, s, &count, &reset, &s->err),
              &s->err);
    sb_participants_operations.serve(s->participants);
}

void turn_for(stage_t *s, int64_t ms)
{
    int64_t until = sb_test_mono_ms() + ms;
    while (sb_test_mono_ms() < until)
        turn(s);
}

sb_code_t command(stage_t *s, const char *participant, int n, bool undo, int attempt, int64_t patience_ms)
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

void send_ok(stage_t *s, int n, bool undo, int attempt, int64_t patience_ms)
{
    assert_ok(command(s, "pay", n, undo, attempt, patience_ms), &s->err);
}

sb_participant_state_t state_of(stage_t *s, const char *name)
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

int seen(stage_t *s)
{
    (void)pthread_mutex_lock(&s->lock);
    int n = s->seen;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

void fail_until_open(stage_t *s, int failures)
{
    s->status = 500;
    for (int n = 0; n < failures; n++) {
        send_ok(s, 900 + n, false, 1, 20000);
        turn_until(s, s->replies == n + 1, 20000);
    }
}

void reply_to(stage_t *s, int i, const char *outcome)
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
