/* One subscription: read into the window, send what may be sent, judge what comes back, move the position.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "bus/push/push_internal.h"
#include "events/saga_types.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SAVE_EVERY_US 100000
#define READ_EVENTS   128
#define READ_MS       50

/* ---- life ---- */

static sb_code_t compile_newest(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    const sb_artifact_t *artifact =
        sb_catalog_artifact(push->config.catalog, SB_ARTIFACT_SUBSCRIPTION, sb_slice(slot->name), 0);
    if (!artifact)
        return sb_fail(err, SB_NOT_FOUND, "no push subscription %s is registered", slot->name);
    sb_code_t code = sb_push_definition_new(&slot->definition, artifact->body, err);
    if (code == SB_OK)
        slot->definition->version = artifact->version;
    return code;
}

static bool wants_sagas(const sb_push_definition_t *definition)
{
    const char *type;
    for (size_t i = 0; (type = sb_saga_public_type(i)); i++)
        if (sb_push_wants(definition, sb_slice(type)))
            return true;
    return false;
}

static sb_code_t open_parts(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = compile_newest(push, slot, err);
    if (code != SB_OK)
        return code;
    const sb_push_definition_t *d = slot->definition;
    code = sb_push_begin(push, slot,
                         err); /* first: what is wrong with the rest is written down where it began */
    if (code == SB_OK)
        code =
            sb_push_endpoint_read(&slot->endpoint, push->config.config, d->endpoint, d->path, d->sign, err);
    if (code == SB_OK)
        code = sb_push_window_init(&slot->window, d->order, err);
    return code;
}

sb_code_t sb_push_slot_open(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = open_parts(push, slot, err);
    if (code != SB_OK) {
        sb_push_slot_close(slot);
        return code;
    }
    sb_breaker_init(&slot->breaker, &slot->definition->breaker);
    sb_rate_init(&slot->rate, slot->definition->rate, 0, sb_mono_us());
    slot->domain_only = !wants_sagas(slot->definition);
    slot->read_to = slot->saved_seq = slot->lease.cursor;
    slot->saved_us = sb_mono_us();
    slot->serial = ++push->serials;
    slot->outdated = false;
    slot->any_held = true; /* until it is looked at */
    slot->hold_until_us = 0;
    slot->throttled = 0;
    slot->silence = (sb_push_silence_t){.no = 0};
    slot->probed_no = 0;
    slot->well_us = 0;
    slot->open = true;
    sb_push_slot_say(slot, "");
    slot->problem_changed = true; /* what a predecessor said */
    sb_log(SB_LOG_INFO, "PUSH-OPEN", "delivers|subscription=%s version=%d after=%" PRId64, slot->name,
           slot->definition->version, slot->read_to);
    return SB_OK;
}

void sb_push_slot_close(sb_push_slot_t *slot)
{
    sb_push_redrive_forget(slot);
    sb_push_window_fini(&slot->window);
    sb_push_endpoint_fini(&slot->endpoint);
    sb_push_definition_free(&slot->definition);
    slot->open = false;
    slot->serial = 0;
    slot->flying = 0;
}

void sb_push_slot_say(sb_push_slot_t *slot, const char *problem)
{
    if (strcmp(slot->problem, problem) == 0)
        return;
    (void)snprintf(slot->problem, sizeof slot->problem, "%s", problem);
    slot->problem_changed = true;
    if (problem[0])
        sb_log(SB_LOG_WARN, "PUSH-STUCK", "%s|subscription=%s", problem, slot->name);
    else
        sb_log(SB_LOG_INFO, "PUSH-WELL", "delivers again|subscription=%s", slot->name);
}

/* ---- the position ---- */

/* Everything up to there is decided, when the first count entries of the window are. */
static int64_t cursor_after(const sb_push_slot_t *slot, int count)
{
    int64_t left = slot->window.next - slot->window.head - count;
    return left > 0 ? sb_push_window_at(&slot->window, count)->event.seq - 1 : slot->read_to;
}

sb_code_t sb_push_slot_settle(sb_push_t *push, sb_push_slot_t *slot, bool now, sb_error_t *err)
{
    int dead = 0;
    int count = sb_push_window_decided(&slot->window, &dead);
    int64_t cursor = cursor_after(slot, count);
    int64_t age_us = sb_mono_us() - slot->saved_us;
    bool moved = cursor != slot->saved_seq || slot->problem_changed;
    bool beat = age_us > push->overdue_ms * 250;
    slot->dead += dead;
    if (dead > 0 || beat || (moved && (now || age_us > SAVE_EVERY_US))) {
        sb_code_t code = sb_push_save(push, slot, cursor, count, dead > 0, err);
        if (code != SB_OK) {
            slot->dead -= dead;
            return code;
        }
        push->dead_letters += dead;
    }
    sb_push_window_drop(&slot->window, count);
    slot->lease.cursor = cursor;
    return SB_OK;
}

/* ---- reading ---- */

typedef struct intake {
    sb_push_slot_t *slot;
    bool full;
} intake_t;

static sb_code_t take_in(void *context, const sb_event_t *event, sb_error_t *err)
{
    intake_t *in = context;
    if (!sb_push_wants(in->slot->definition, event->type))
        return SB_OK;
    in->full = sb_push_window_room(&in->slot->window) == 0;
    if (in->full)
        return sb_fail(err, SB_BUSY, "the window is full");
    return sb_push_window_add(&in->slot->window, event, err);
}

static sb_code_t read_on(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    int room = sb_push_window_room(&slot->window);
    int64_t first = slot->window.next;
    intake_t in = {slot, false};
    int64_t last = slot->read_to;
    if (slot->read_to >= push->safe_seq || room < READ_EVENTS)
        return SB_OK;
    sb_read_all_t read = {.after_seq = slot->read_to,
                          .to_seq = push->safe_seq,
                          .limit = READ_EVENTS,
                          .types = slot->definition->type,
                          .type_count = slot->definition->type_count,
                          .domain_only = slot->domain_only,
                          .budget_ms = READ_MS};
    sb_code_t code = sb_store_read_all(push->store, &read, take_in, &in, &last, err);
    if (code == SB_BUSY && in.full)
        code = SB_OK;
    if (code == SB_OK)
        slot->read_to = last;
    if (code == SB_OK && slot->any_held && slot->window.next > first)
        code = sb_push_block_held(push, slot, first, err);
    return code;
}

/* ---- sending ---- */

static sb_code_t send_ready(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us, sb_error_t *err)
{
    bool sent = true;
    sb_code_t code = SB_OK;
    while (code == SB_OK && sent) {
        int64_t ready_us = INT64_MAX;
        bool probing = slot->breaker.state != SB_BREAKER_CLOSED;
        sb_push_entry_t *entry =
            sb_push_window_ready_after(&slot->window, probing ? slot->probed_no : 0, sb_mono_us(), &ready_us);
        if (!entry) {
            sb_push_sooner(due_us, ready_us);
            break;
        }
        code = sb_push_send(push, slot, &entry->event, entry->no, &sent, due_us, err);
        if (sent)
            entry->state = SB_PUSH_FLYING;
        if (sent && probing)
            slot->probed_no = entry->no;
    }
    return code;
}

/* A newer version takes over when nothing is under way. */
static sb_code_t renew(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    if (slot->flying > 0)
        return SB_OK;
    sb_push_slot_close(slot);
    return sb_push_slot_open(push, slot, err);
}

/* A probe is an event's first: dead letters that are not taken would have all of them. */
static sb_code_t send_both(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us, sb_error_t *err)
{
    bool probing = slot->breaker.state != SB_BREAKER_CLOSED;
    sb_code_t code = probing ? SB_OK : sb_push_redrive(push, slot, due_us, err);
    if (code == SB_OK)
        code = read_on(push, slot, err);
    if (code == SB_OK)
        code = send_ready(push, slot, due_us, err);
    return code == SB_OK && probing ? sb_push_redrive(push, slot, due_us, err) : code;
}

sb_code_t sb_push_slot_move(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us, sb_error_t *err)
{
    int64_t read_to;
    sb_code_t code = SB_OK;
    do {
        read_to = slot->read_to;
        code = sb_push_slot_settle(push, slot, slot->flying == 0, err);
        if (code == SB_OK && slot->outdated)
            return renew(push, slot, err);
        if (code == SB_OK && slot->paused)
            return SB_OK;
        if (code == SB_OK)
            code = send_both(push, slot, due_us, err);
    } while (code == SB_OK && slot->read_to != read_to && !atomic_load(&push->stopping) &&
             slot->window.next == slot->window.head);
    int dead = 0;
    if (code == SB_OK && slot->open && sb_push_window_decided(&slot->window, &dead) > 0)
        *due_us = 0; /* those that were read behind a held key */
    if (slot->saved_seq != slot->lease.cursor)
        sb_push_sooner(due_us, slot->saved_us + SAVE_EVERY_US);
    if (slot->read_to < push->safe_seq && sb_push_window_room(&slot->window) >= READ_EVENTS)
        *due_us = 0;
    return code;
}

/* ---- what comes back ---- */

/* The longest of those under way. No time at all would be one request after the other. */
static void wait_as_asked(sb_push_slot_t *slot, const sb_push_flight_t *flight)
{
    int64_t ms = flight->retry_after_s > 0 ? (int64_t)flight->retry_after_s * 1000
                                           : (int64_t)sb_push_pause_ms(slot, slot->throttled + 1);
    int64_t until_us = sb_mono_us() + ms * 1000;
    slot->throttled++;
    if (until_us > slot->hold_until_us)
        slot->hold_until_us = until_us;
}

static void fail_entry(sb_push_slot_t *slot, sb_push_entry_t *entry, const sb_push_flight_t *flight)
{
    bool counts = sb_push_counts(slot, flight, entry->tried_us);
    bool endless = slot->window.order == SB_PUSH_ONE_BY_ONE;
    entry->tries += counts;
    entry->tried_us = sb_mono_us();
    entry->state = SB_PUSH_WAITING;
    entry->failed_us = entry->failed_us ? entry->failed_us : sb_wall_us();
    (void)snprintf(entry->error, sizeof entry->error, "%s", flight->error);
    if (!endless && (flight->verdict == SB_PUSH_REJECTED ||
                     (counts && !sb_retry_allowed(&slot->definition->retry, entry->tries)))) {
        sb_push_window_bury(&slot->window, entry,
                            flight->verdict == SB_PUSH_REJECTED ? "rejected" : "failed");
        sb_log(SB_LOG_WARN, "PUSH-DEAD", "%s|subscription=%s seq=%" PRId64 " tries=%" PRIu32, entry->error,
               slot->name, entry->event.seq, entry->tries);
        return;
    }
    entry->due_us = entry->tried_us + (int64_t)sb_push_pause_ms(slot, entry->tries) * 1000;
    if (endless && !sb_retry_allowed(&slot->definition->retry, entry->tries)) {
        char text[sizeof slot->problem];
        (void)snprintf(text, sizeof text, "event %" PRId64 " is not taken, and later ones wait for it: %s",
                       entry->event.seq, entry->error);
        sb_push_slot_say(slot, text);
    }
}

/* What an answer says about the endpoint, whichever event it was about. */
static void judge_endpoint(sb_push_slot_t *slot, const sb_push_flight_t *flight)
{
    int64_t now_us = sb_mono_us();
    switch (flight->cancelled ? SB_PUSH_WAIT : flight->verdict) {
    case SB_PUSH_DONE:
    case SB_PUSH_REJECTED:
        sb_breaker_succeeded(&slot->breaker, flight->ticket);
        slot->throttled = 0;
        slot->well_us = now_us;
        break;
    case SB_PUSH_FAILED:
    case SB_PUSH_SILENT:
        sb_breaker_failed(&slot->breaker, flight->ticket, now_us);
        break;
    case SB_PUSH_WAIT:
    case SB_PUSH_GONE:
        sb_breaker_dropped(&slot->breaker, flight->ticket);
    }
    if (slot->breaker.state == SB_BREAKER_OPEN) {
        char text[sizeof slot->problem];
        (void)snprintf(text, sizeof text, "the endpoint fails, a probe goes out every %" PRIu32 " ms: %s",
                       slot->breaker.config.recovery_ms, flight->error);
        sb_push_slot_say(slot, text);
    } else if (flight->verdict == SB_PUSH_DONE && slot->breaker.state == SB_BREAKER_CLOSED) {
        sb_push_slot_say(slot, "");
    }
}

static sb_code_t land_entry(sb_push_t *push, sb_push_slot_t *slot, const sb_push_flight_t *flight,
                            sb_error_t *err)
{
    sb_push_entry_t *entry = sb_push_window_entry(&slot->window, flight->no);
    if (!entry)
        return sb_fail(err, SB_INTERNAL, "push %s: an answer to no event", slot->name);
    if (flight->cancelled || flight->verdict == SB_PUSH_WAIT || flight->verdict == SB_PUSH_GONE) {
        entry->state = SB_PUSH_WAITING; /* no try of the event */
    } else if (flight->verdict == SB_PUSH_DONE) {
        entry->state = SB_PUSH_DELIVERED;
        slot->delivered++;
        push->delivered++;
    } else {
        slot->failures++;
        push->failures++;
        fail_entry(slot, entry, flight);
    }
    return SB_OK;
}

sb_code_t sb_push_slot_landed(sb_push_t *push, sb_push_slot_t *slot, const sb_push_flight_t *flight,
                              sb_error_t *err)
{
    slot->flying--;
    judge_endpoint(slot, flight);
    sb_code_t code = flight->no > 0 ? land_entry(push, slot, flight, err)
                                    : sb_push_redrive_landed(push, slot, flight, err);
    if (code != SB_OK || flight->cancelled)
        return code;
    if (flight->verdict == SB_PUSH_WAIT)
        wait_as_asked(slot, flight);
    if (flight->verdict != SB_PUSH_GONE || slot->paused)
        return SB_OK;
    slot->paused = true;
    sb_log(SB_LOG_WARN, "PUSH-GONE", "the endpoint answered 410, the subscription pauses|subscription=%s",
           slot->name);
    return sb_push_pause_gone(push, slot, err);
}
