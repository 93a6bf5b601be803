/* A request under way: whether it may go, how it goes, and what its answer was.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bus/push/push_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define FULL_US 20000 /* the client takes no more calls: look again */
#define EXCERPT 80

uint64_t sb_push_random(void)
{
    sb_uuid_t id = sb_uuid_v7();
    uint64_t random;
    memcpy(&random, id.byte + 8, sizeof random);
    return random;
}

/* ---- the answer ---- */

static const char *phrase_of(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } known[] = {{400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {415, "Unsupported Media Type"},
                 {422, "Unprocessable Content"},
                 {500, "Internal Server Error"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].phrase;
    return status >= 300 && status < 400 ? "a redirect, which is not followed" : "";
}

/* The phrase keeps statuses apart where errors are grouped, and numbers are not looked at. */
static void describe(const sb_http_result_t *result, char *out, size_t cap)
{
    char excerpt[EXCERPT + 1];
    size_t n = 0;
    for (size_t i = 0; i < result->body.len && n < EXCERPT; i++) {
        unsigned char c = (unsigned char)result->body.ptr[i];
        excerpt[n++] = c >= ' ' && c < 127 ? (char)c : ' ';
    }
    excerpt[n] = '\0';
    (void)snprintf(out, cap, "the endpoint answered %d %s%s%s", result->status, phrase_of(result->status),
                   n ? ": " : "", excerpt);
}

/* On the HTTP client's thread. An answer that is too long is an answer all the same. */
static void on_landed(void *context, const sb_http_result_t *result)
{
    sb_push_flight_t *flight = context;
    sb_push_t *push = flight->push;
    bool answered = result->code == SB_OK || (result->code == SB_TOO_LARGE && result->status > 0);
    flight->cancelled = result->code == SB_STOPPED;
    flight->verdict = sb_push_verdict(answered ? result->status : 0, result->retry_after_s);
    flight->retry_after_s = result->retry_after_s;
    if (answered)
        describe(result, flight->error, sizeof flight->error);
    else
        (void)snprintf(flight->error, sizeof flight->error, "%s", result->err->message);
    (void)pthread_mutex_lock(&push->lock);
    flight->next = push->landed;
    push->landed = flight;
    (void)pthread_mutex_unlock(&push->lock);
    sb_signal_raise(&push->wake);
}

uint32_t sb_push_pause_ms(const sb_push_slot_t *slot, uint32_t tries)
{
    return sb_retry_delay_ms(&slot->definition->retry, tries, sb_push_random());
}

/* The one that opened the breaker is like a probe. An endpoint that took another event since is not away. */
bool sb_push_counts(const sb_push_slot_t *slot, const sb_push_flight_t *flight, int64_t tried_us)
{
    bool closed = !flight->probing && slot->breaker.state == SB_BREAKER_CLOSED;
    return closed || flight->verdict != SB_PUSH_SILENT || (tried_us > 0 && slot->well_us > tried_us);
}

/* ---- sending ---- */

/* A place in the breaker's and the rate's limits, both or none. */
static bool enter(sb_push_slot_t *slot, int64_t now_us, sb_push_flight_t *flight, int64_t *due_us)
{
    if (!sb_rate_take(&slot->rate, now_us)) {
        sb_push_sooner(due_us, now_us + sb_rate_wait_us(&slot->rate, now_us));
        return false;
    }
    if (!sb_breaker_enter(&slot->breaker, now_us, &flight->ticket)) {
        int64_t wait_us = sb_breaker_wait_us(&slot->breaker, now_us);
        if (wait_us != INT64_MAX)
            sb_push_sooner(due_us, now_us + wait_us);
        sb_rate_give_back(&slot->rate);
        return false;
    }
    flight->probing = sb_breaker_state(&slot->breaker, now_us) != SB_BREAKER_CLOSED;
    return true;
}

static sb_code_t take_off(sb_push_t *push, sb_push_slot_t *slot, const sb_event_t *event,
                          sb_push_flight_t *flight, sb_error_t *err)
{
    const sb_push_definition_t *d = slot->definition;
    sb_code_t code = sb_push_request_make(&push->request, event, &slot->endpoint, d->structured,
                                          d->timeout_ms, sb_wall_us() / 1000000, err);
    if (code == SB_OK)
        code = sb_http_multi_send(push->http, &push->request.call, on_landed, flight, NULL, err);
    return code;
}

sb_code_t sb_push_send(sb_push_t *push, sb_push_slot_t *slot, const sb_event_t *event, int64_t no, bool *sent,
                       int64_t *due_us, sb_error_t *err)
{
    int64_t now_us = sb_mono_us();
    *sent = false;
    if (slot->hold_until_us > now_us) {
        sb_push_sooner(due_us, slot->hold_until_us);
        return SB_OK;
    }
    if (now_us - slot->saved_us > push->overdue_ms * 500) {
        *due_us = 0; /* a beat first: who stood still may have been replaced, and would send what is done */
        return SB_OK;
    }
    if (slot->flying >= (int)slot->definition->at_once)
        return SB_OK;
    sb_push_flight_t *flight = calloc(1, sizeof *flight);
    if (!flight)
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    flight->push = push;
    flight->slot = slot;
    flight->serial = slot->serial;
    flight->no = no;
    if (!enter(slot, now_us, flight, due_us)) {
        free(flight);
        return SB_OK;
    }
    sb_code_t code = take_off(push, slot, event, flight, err);
    *sent = code == SB_OK;
    slot->flying += *sent;
    slot->aloft += *sent;
    if (*sent)
        return SB_OK;
    sb_breaker_dropped(&slot->breaker, flight->ticket);
    sb_rate_give_back(&slot->rate);
    free(flight);
    if (code != SB_BUSY)
        return code;
    sb_push_sooner(due_us, now_us + FULL_US);
    return SB_OK;
}
