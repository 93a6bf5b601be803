/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_replay.h"

#include "base/clock.h"
#include "base/retry.h"
#include "bus/push/push_request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_MS       10000
#define TRIES            5
#define LOOK_MS          100
#define ANSWER_BYTES_MAX (1u << 20)

struct sb_push_replay {
    sb_push_replay_config_t config;
    sb_push_endpoint_t endpoint;
    sb_push_request_t request;
    sb_http_client_t *client;
};

sb_code_t sb_push_replay_open(sb_push_replay_t **out, const sb_push_replay_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_push_replay_t *replay = calloc(1, sizeof *replay);
    if (!replay)
        return sb_fail(err, SB_NO_MEMORY, "replay: out of memory");
    replay->config = *config;
    replay->config.timeout_ms = config->timeout_ms ? config->timeout_ms : TIMEOUT_MS;
    replay->config.tries = config->tries ? config->tries : TRIES;
    replay->request.replay = true;
    sb_http_client_config_t http = {.ca_file = config->ca_file, .answer_bytes_max = ANSWER_BYTES_MAX};
    sb_code_t code = sb_push_endpoint_of(&replay->endpoint, config->url, config->secret_file, err);
    if (code == SB_OK)
        code = sb_http_client_new(&replay->client, &http, err);
    if (code != SB_OK)
        sb_push_replay_close(&replay);
    *out = replay;
    return code;
}

void sb_push_replay_close(sb_push_replay_t **replay)
{
    if (!*replay)
        return;
    sb_http_client_free(&(*replay)->client);
    sb_push_request_fini(&(*replay)->request);
    sb_push_endpoint_fini(&(*replay)->endpoint);
    free(*replay);
    *replay = NULL;
}

bool sb_push_replay_is_open(const sb_push_replay_t *replay)
{
    return sb_webhook_url_is_open(sb_buf_text(&replay->endpoint.url));
}

static bool is_stopped(const sb_push_replay_t *replay)
{
    return replay->config.is_stopped && replay->config.is_stopped(replay->config.context);
}

/* In steps, because a stop may come by a signal handler, which wakes nobody. */
static sb_code_t pause_for(const sb_push_replay_t *replay, int64_t ms, sb_error_t *err)
{
    int64_t end_us = sb_mono_us() + ms * 1000;
    int64_t left_ms;
    while (!is_stopped(replay) && (left_ms = (end_us - sb_mono_us() + 999) / 1000) > 0)
        sb_sleep_ms(left_ms < LOOK_MS ? left_ms : LOOK_MS);
    return is_stopped(replay) ? sb_fail(err, SB_STOPPED, "interrupted") : SB_OK;
}

/* One request; *status 0: there was no answer, and *why says so. */
static sb_code_t try_once(sb_push_replay_t *replay, const sb_event_t *event, int *status, int *retry_after_s,
                          sb_error_t *why, sb_error_t *err)
{
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    *status = 0;
    *retry_after_s = -1;
    sb_code_t code =
        sb_push_request_make(&replay->request, event, &replay->endpoint, replay->config.structured,
                             replay->config.timeout_ms, sb_wall_us() / 1000000, err);
    if (code != SB_OK)
        return code;
    code = sb_http_client_send(replay->client, &replay->request.call, &answer, why);
    if (code == SB_OK) {
        *status = answer.status;
        *retry_after_s = answer.retry_after_s;
    }
    sb_http_answer_fini(&answer);
    if (code == SB_INVALID || code == SB_NO_MEMORY)
        return sb_fail(err, code, "%s", why->message);
    return SB_OK;
}

static sb_code_t fail_event(const sb_event_t *event, int status, const sb_error_t *why, sb_error_t *err)
{
    char key[64];
    (void)snprintf(key, sizeof key, "%.*s", SB_SLICE_ARG(event->subject));
    if (status == 0)
        return sb_fail(err, SB_UNAVAILABLE, "seq %" PRId64 ", %.*s of %s: %s", event->seq,
                       SB_SLICE_ARG(event->type), key, why->message);
    return sb_fail(err, SB_CONFLICT, "seq %" PRId64 ", %.*s of %s: the endpoint answered %d", event->seq,
                   SB_SLICE_ARG(event->type), key, status);
}

sb_code_t sb_push_replay_send(sb_push_replay_t *replay, const sb_event_t *event, sb_error_t *err)
{
    static const sb_retry_policy_t policy = {
        .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 500, .delay_max_ms = 10000, .jitter = false};
    uint32_t tried = 0, asked_to_wait = 0;
    sb_code_t code = SB_OK;
    while (code == SB_OK) {
        int status = 0, retry_after_s = -1;
        sb_error_t why = SB_ERROR_INIT;
        code = try_once(replay, event, &status, &retry_after_s, &why, err);
        if (code != SB_OK)
            break;
        sb_push_verdict_t verdict = sb_push_verdict(status, retry_after_s);
        if (verdict == SB_PUSH_DONE)
            return SB_OK;
        if (is_stopped(replay))
            return sb_fail(err, SB_STOPPED, "interrupted");
        if (verdict == SB_PUSH_WAIT) {
            asked_to_wait++;
            int64_t wait_ms = sb_retry_delay_ms(&policy, asked_to_wait, 0);
            code = pause_for(replay, retry_after_s > 0 ? (int64_t)retry_after_s * 1000 : wait_ms, err);
            continue;
        }
        tried++;
        if (verdict == SB_PUSH_REJECTED || verdict == SB_PUSH_GONE || tried >= replay->config.tries)
            return fail_event(event, status, &why, err);
        code = pause_for(replay, sb_retry_delay_ms(&policy, tried, 0), err);
    }
    return code;
}
