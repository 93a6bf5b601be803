/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/participants_internal.h"

#include "base/clock.h"

#include <stdlib.h>

#define MISS_DELAY_MS    200 /* after a connection that was not to be had; doubled up to … */
#define MISS_DELAY_MAX   10000
#define WORKING_DELAY_US 1000000 /* ask again when nothing was said about it */
#define BUSY_DELAY_S     1
#define PAUSE_MAX_S      3600
#define CALL_MIN_MS      50

/* ---- HTTP answers ---- */

/* On the client's thread. */
static void on_done(void *context, const sb_http_result_t *result)
{
    landed_t *landed = context;
    sb_participants_t *p = landed->owner;
    sb_http_judge(result, &landed->verdict);
    landed->code = result->code;
    landed->elapsed_us = result->elapsed_us;
    if (result->code == SB_OK && landed->verdict.outcome == SB_OUTCOME_SUCCESS && result->body.len > 0) {
        landed->text = malloc(result->body.len);
        if (landed->text) {
            memcpy(landed->text, result->body.ptr, result->body.len);
            landed->body = (sb_slice_t){landed->text, result->body.len};
        } else {
            landed->code = SB_NO_MEMORY;
        }
    }
    (void)pthread_mutex_lock(&p->lock);
    bool first = p->first_landed == NULL;
    if (first)
        p->first_landed = landed;
    else
        p->last_landed->next = landed;
    p->last_landed = landed;
    (void)pthread_mutex_unlock(&p->lock);
    if (first)
        sb_signal_raise(&p->landing);
}

void sb_participant_free_landed(landed_t *landed)
{
    free(landed->text);
    free(landed);
}

static void settle_call(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    participant_t *one = errand->participant;
    switch (landed->verdict.health) {
    case SB_HTTP_WELL:
        sb_breaker_succeeded(&one->breaker, errand->ticket);
        break;
    case SB_HTTP_ILL:
        sb_breaker_failed(&one->breaker, errand->ticket, now);
        break;
    case SB_HTTP_NOT_SAID:
        sb_breaker_dropped(&one->breaker, errand->ticket);
        break;
    }
    if (landed->code == SB_OK) {
        int64_t old = one->state.answer_us;
        one->state.answer_us = old ? old + (landed->elapsed_us - old) / 8 : landed->elapsed_us;
    }
    errand->call = 0;
    sb_gate_leave_place(errand);
}

/* Nothing was sent, so nothing can have happened: it goes again from here, without a try of the machine's. */
static void try_connection_again(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    int64_t delay_ms = MISS_DELAY_MS << (errand->misses < 6 ? errand->misses : 6);
    errand->misses++;
    sb_participant_note_error(errand->participant, sb_slice(landed->verdict.error));
    sb_gate_make_later(errand, now + 1000 * (delay_ms < MISS_DELAY_MAX ? delay_ms : MISS_DELAY_MAX));
}

static void ask_again(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    int64_t delay_us =
        landed->verdict.retry_after_s >= 0 ? 1000000LL * landed->verdict.retry_after_s : WORKING_DELAY_US;
    int64_t again_us = now + (delay_us > 0 ? delay_us : WORKING_DELAY_US / 10);
    errand->participant->state.pending++;
    errand->misses = 0;
    errand->since_us = again_us; /* its turn is then: before it, it does not wait for one */
    if (errand->working_us == 0)
        errand->working_us = now;
    sb_gate_make_later(errand, again_us);
}

/* It paces itself: nothing goes to it before the time it named. */
static void obey(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    participant_t *one = errand->participant;
    int64_t seconds = landed->verdict.retry_after_s >= 0 ? landed->verdict.retry_after_s : BUSY_DELAY_S;
    int64_t until = now + 1000000LL * (seconds < PAUSE_MAX_S ? seconds : PAUSE_MAX_S);
    if (until > one->pause_us)
        one->pause_us = until;
    sb_participant_note_error(one, sb_slice(landed->verdict.error));
    sb_gate_make_ready(errand, true);
}

/* False: the reply is not taken now. */
static bool land(sb_participants_t *p, const landed_t *landed, const sink_t *sink)
{
    int64_t now = sb_mono_us();
    sb_errand_t *errand = sb_errands_find(&p->errands, &landed->id);
    if (!errand || errand->call != landed->call)
        return true; /* cancelled meanwhile */
    const sb_http_verdict_t *v = &landed->verdict;
    if (landed->code == SB_UNAVAILABLE || landed->code == SB_NO_MEMORY) {
        settle_call(errand, landed, now);
        if (sb_gate_is_here(p, errand))
            try_connection_again(errand, landed, now);
        else
            sb_gate_drop(p, errand);
        return true;
    }
    if (v->means == SB_HTTP_MEANS_OUTCOME) {
        sb_errand_reply_t reply = {.outcome = v->outcome,
                                   .error_class = v->error_class,
                                   .attention = v->attention,
                                   .result = landed->body,
                                   .error = v->error[0] ? sb_slice(v->error) : SB_SLICE_NONE};
        if (*sink->count >= sink->max || sb_gate_answer(p, errand, &reply, sink) != SB_OK)
            return false;
        settle_call(errand, landed, now);
        sb_participant_count_outcome(errand->participant, v->outcome, reply.error);
        sb_gate_drop(p, errand);
        return true;
    }
    settle_call(errand, landed, now);
    if (!sb_gate_is_here(p, errand))
        sb_gate_drop(p, errand);
    else if (v->means == SB_HTTP_MEANS_WORKING)
        ask_again(errand, landed, now);
    else
        obey(errand, landed, now);
    return true;
}

void sb_participant_take_landed(sb_participants_t *p)
{
    sb_signal_clear(&p->landing);
    (void)pthread_mutex_lock(&p->lock);
    landed_t *more = p->first_landed;
    p->first_landed = p->last_landed = NULL;
    (void)pthread_mutex_unlock(&p->lock);
    landed_t **end = &p->landed;
    while (*end)
        end = &(*end)->next;
    *end = more;
}

void sb_participant_land_all(sb_participants_t *p, const sink_t *sink)
{
    sb_participant_take_landed(p);
    while (p->landed && land(p, p->landed, sink)) {
        landed_t *done = p->landed;
        p->landed = done->next;
        sb_participant_free_landed(done);
    }
}

/* ---- the call ---- */

static uint32_t call_ms(const sb_errand_t *errand, int64_t now)
{
    int64_t left_ms = errand->participant->settings.timeout_ms;
    if (errand->patience_us > 0) {
        int64_t patience_ms = (errand->clock_us + errand->patience_us - now) / 1000;
        left_ms = patience_ms < left_ms ? patience_ms : left_ms;
    }
    return (uint32_t)(left_ms > CALL_MIN_MS ? left_ms : CALL_MIN_MS);
}

sb_code_t sb_participant_call(sb_participants_t *p, sb_errand_t *errand, int64_t now, sb_error_t *err)
{
    char expiry[SB_TIME_TEXT];
    const sb_participant_settings_t *settings = &errand->participant->settings;
    sb_http_request_source_t source = {.headers = errand->header,
                                       .header_count = errand->header_count,
                                       .expiry = sb_errand_expiry(errand, expiry),
                                       .body = errand->value,
                                       .token = settings->token,
                                       .secret = settings->secret.length > 0 ? &settings->secret : NULL,
                                       .wall_s = sb_wall_us() / 1000000};
    sb_code_t code = sb_http_request_make(&p->request, &source, err);
    if (code != SB_OK)
        return code;
    landed_t *landed = calloc(1, sizeof *landed);
    if (!landed)
        return sb_fail(err, SB_NO_MEMORY, "call a participant: out of memory");
    *landed = (landed_t){.owner = p, .id = errand->id, .call = ++p->calls};
    sb_http_call_t call = {.method = "POST",
                           .url = settings->url,
                           .body = errand->value,
                           .headers = p->request.line,
                           .timeout_ms = call_ms(errand, now)};
    code = sb_http_multi_send(p->client, &call, on_done, landed, &errand->call_id, err);
    if (code != SB_OK)
        sb_participant_free_landed(landed);
    else
        errand->call = landed->call;
    return code;
}
