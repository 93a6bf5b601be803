/* A command's way: `take` (new, or a repeat that renews), `pump` (its turn: saga, breaker, budget, rate,
 * place), out, then `land` (an HTTP answer) or `note_reply` (one over Kafka). `tick` looks after what waits.
 *
 * Replies are made only inside of poll, where the orchestrator takes them; so what has waited for long enough
 * that the machine's clock must be started anew goes out from there, and what is fresh goes out at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/participants_internal.h"

#include "base/clock.h"
#include "saga/contract.h"

#include <stdio.h>
#include <sys/timerfd.h>

#define ERRANDS_MAX      10000
#define ERRAND_BYTES_MAX (64u << 20)
#define TICK_US          100000
#define NEVER            INT64_MAX

/* ---- errands ---- */

/* The errand's text became another. */
static void note_bytes(sb_participants_t *p, const sb_errand_t *errand, size_t before)
{
    p->errands.bytes += errand->bytes - before;
    errand->participant->bytes += errand->bytes - before;
}

void sb_gate_leave_place(sb_errand_t *errand)
{
    if (errand->placed)
        sb_bulkhead_leave(&errand->participant->bulkhead);
    errand->placed = false;
}

void sb_gate_drop(sb_participants_t *p, sb_errand_t *errand)
{
    sb_gate_leave_place(errand);
    if (errand->call) {
        sb_breaker_dropped(&errand->participant->breaker, errand->ticket);
        sb_http_multi_cancel(p->client, errand->call_id);
    }
    sb_errand_leave(errand);
    sb_errands_remove(&p->errands, errand);
    p->errands.bytes -= errand->bytes;
    errand->participant->bytes -= errand->bytes;
    sb_errand_free(errand);
}

void sb_gate_make_ready(sb_errand_t *errand, bool first)
{
    sb_errand_list_t *list = &errand->participant->ready[errand->undo ? 0 : 1];
    errand->not_before_us = 0;
    if (first)
        sb_errand_prepend(list, errand);
    else
        sb_errand_append(list, errand);
}

void sb_gate_make_later(sb_errand_t *errand, int64_t not_before_us)
{
    errand->not_before_us = not_before_us;
    sb_errand_append(&errand->participant->later, errand);
}

/* ---- replies ---- */

/* The owner of the shard is elsewhere: by way of the reply topic. */
static sb_code_t reply_by_topic(sb_participants_t *p, const sb_errand_t *errand, sb_slice_t result,
                                const sb_errand_message_t *message, sb_error_t *err)
{
    sb_record_t record = {.topic = p->reply_topic,
                          .partition = errand->shard,
                          .key = errand->key,
                          .value = result.ptr ? result : SB_SLICE(""),
                          .headers = message->header,
                          .header_count = message->count};
    return p->inner->send(p->bus, &record, err);
}

/* Whether its shard is held here: the machine that waits for it is ours. */
bool sb_gate_is_here(const sb_participants_t *p, const sb_errand_t *errand)
{
    return errand->shard >= 0 && errand->shard < SB_SHARDS_MAX && p->held[errand->shard];
}

/* Not SB_OK: try again later. */
sb_code_t sb_gate_answer(sb_participants_t *p, const sb_errand_t *errand, const sb_errand_reply_t *reply,
                         const sink_t *sink)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_errand_message_t made;
    sb_errand_answer(errand, reply, errand->participant->name, &made);
    if (!sb_gate_is_here(p, errand))
        return reply_by_topic(p, errand, reply->result, &made, &err);
    sb_message_t message = {.topic = p->reply_topic,
                            .partition = errand->shard,
                            .offset = -1,
                            .key = errand->key,
                            .value = reply->result.ptr ? reply->result : SB_SLICE(""),
                            .header_count = made.count};
    memcpy(message.headers, made.header, made.count * sizeof made.header[0]);
    sb_code_t code = sink->on_message(sink->context, &message, &err);
    *sink->count += code == SB_OK;
    return code;
}

static sb_wanted_t ask_wanted(const sb_participants_t *p, const sb_errand_t *errand)
{
    return p->wanted(p->wanted_context, errand->tag, sb_errand_header(errand, SB_H_SAGA_STEP), errand->undo,
                     errand->round);
}

/* Starts the machine's clock of the try anew. While the saga is paused, that clock stands still anyway. */
static bool hold(sb_participants_t *p, sb_errand_t *errand, int64_t now, const sink_t *sink)
{
    const sb_errand_reply_t pending = {.outcome = SB_OUTCOME_PENDING};
    if (sb_gate_is_here(p, errand) && ask_wanted(p, errand) == SB_WANTED &&
        (*sink->count >= sink->max || sb_gate_answer(p, errand, &pending, sink) != SB_OK))
        return false;
    sb_errand_restart_clock(errand, now);
    return true;
}

/* The machine would end the try before long. */
static bool clock_is_short(const sb_errand_t *errand, int64_t now, int part)
{
    return errand->patience_us > 0 && now - errand->clock_us > errand->patience_us / part;
}

/* Ends an errand with what the machine takes for a try that failed. That is no word of the participant's: its
 * last error stays. */
static bool fail_errand(sb_participants_t *p, sb_errand_t *errand, const char *why, const sink_t *sink)
{
    sb_errand_reply_t reply = {
        .outcome = SB_OUTCOME_ERROR, .error_class = SB_CLASS_INFRASTRUCTURE, .error = sb_slice(why)};
    if (*sink->count >= sink->max || sb_gate_answer(p, errand, &reply, sink) != SB_OK)
        return false;
    errand->participant->state.gave_up++;
    sb_gate_drop(p, errand);
    return true;
}

/* ---- out ---- */

static sb_code_t produce(sb_participants_t *p, sb_errand_t *errand, sb_error_t *err)
{
    char expiry[SB_TIME_TEXT];
    sb_header_t header[SB_HEADERS_MAX];
    sb_slice_t fresh = sb_errand_expiry(errand, expiry);
    for (size_t i = 0; i < errand->header_count; i++) {
        header[i] = errand->header[i];
        if (fresh.ptr && strcmp(header[i].name, SB_H_EXPIRY) == 0)
            header[i].value = fresh;
    }
    sb_record_t record = {.topic = errand->participant->topic,
                          .partition = -1,
                          .key = errand->key,
                          .value = errand->value,
                          .headers = header,
                          .header_count = errand->header_count,
                          .tag = errand->tag};
    return p->inner->send(p->bus, &record, err);
}

/* It went. */
static void note_out(sb_participants_t *p, sb_errand_t *errand, int64_t now)
{
    participant_t *one = errand->participant;
    one->state.sent++;
    one->state.repeats += errand->repeat;
    errand->repeat = true;
    errand->out_us = now;
    if (one->http || errand->placed) {
        sb_errand_append(&one->out, errand);
        if (!one->http) {
            size_t before = errand->bytes;
            sb_errand_forget_text(errand);
            note_bytes(p, errand, before);
        }
    } else {
        sb_gate_drop(p, errand); /* only its rate is limited: nothing to keep */
    }
}

typedef enum turn { WENT, GONE, NOT_YET, BLOCKED } turn_t;

/* Undoes what was taken of the limits, in the reverse order. */
static turn_t step_back(sb_errand_t *errand, bool placed_now, bool entered)
{
    if (entered)
        sb_breaker_dropped(&errand->participant->breaker, errand->ticket);
    if (placed_now)
        sb_gate_leave_place(errand);
    return BLOCKED;
}

/* It cannot be sent as it is (it is too large, say): no reason to keep the others waiting. */
static turn_t put_off(sb_errand_t *errand, int64_t now, const sb_error_t *why)
{
    sb_participant_note_error(errand->participant, sb_slice(why->message));
    sb_gate_make_later(errand, now + 1000000);
    return NOT_YET;
}

static bool pay_for(participant_t *one, const sb_errand_t *errand, int64_t now)
{
    if (errand->working_us == 0 && errand->repeat)
        return sb_retry_budget_spend(&one->budget, now);
    if (!errand->repeat)
        sb_retry_budget_earn(&one->budget);
    return true;
}

/* Tries to send the first of a list. */
static turn_t go(sb_participants_t *p, sb_errand_t *errand, int64_t now, const sink_t *sink)
{
    participant_t *one = errand->participant;
    sb_error_t err = SB_ERROR_INIT;
    if (!sink && clock_is_short(errand, now, 8))
        return BLOCKED;
    sb_wanted_t wanted = ask_wanted(p, errand);
    if (wanted == SB_UNWANTED) {
        sb_gate_drop(p, errand);
        return GONE;
    }
    if (wanted == SB_WANTED_LATER) {
        sb_gate_make_later(errand, now + 1000000);
        errand->since_us = errand->not_before_us;
        return NOT_YET;
    }
    if (sb_rate_wait_us(&one->rate, now) > 0)
        return BLOCKED;
    bool placed_now = false;
    if (!errand->placed && one->settings.concurrency > 0) {
        if (!sb_bulkhead_enter(&one->bulkhead, errand->undo))
            return BLOCKED;
        errand->placed = placed_now = true;
    }
    if (one->http && !sb_breaker_enter(&one->breaker, now, &errand->ticket))
        return step_back(errand, placed_now, false);
    if (sink && clock_is_short(errand, now, 8) && !hold(p, errand, now, sink))
        return step_back(errand, placed_now, one->http);
    if (!pay_for(one, errand, now)) {
        (void)step_back(errand, placed_now, one->http);
        sb_gate_make_later(errand, now + sb_retry_budget_wait_us(&one->budget, now));
        return NOT_YET;
    }
    sb_code_t code = one->http ? sb_participant_call(p, errand, now, &err) : produce(p, errand, &err);
    if (code != SB_OK) {
        turn_t turn = step_back(errand, placed_now, one->http);
        return code == SB_BUSY ? turn : put_off(errand, now, &err);
    }
    (void)sb_rate_take(&one->rate, now);
    note_out(p, errand, now);
    return WENT;
}

static void pump_list(sb_participants_t *p, participant_t *one, sb_errand_list_t *list, int64_t now,
                      const sink_t *sink)
{
    while (list->first && now >= one->pause_us)
        if (go(p, list->first, now, sink) == BLOCKED)
            return;
}

/* Undos first. What blocks them (breaker, rate) blocks the others as well; but a place may be theirs only. */
static void pump(sb_participants_t *p, participant_t *one, const sink_t *sink)
{
    int64_t now = sb_mono_us();
    pump_list(p, one, &one->ready[0], now, sink);
    pump_list(p, one, &one->ready[1], now, sink);
}

/* ---- in ---- */

/* Nobody has more than is left for the others: with one that is sick half of all is theirs, with two a third.
 * A participant that is alone has it all. */
static bool has_room(const sb_participants_t *p, const participant_t *one, const sb_record_t *record)
{
    size_t count = one->ready[0].count + one->ready[1].count + one->later.count + one->out.count;
    size_t others = p->guarded > 1 ? 1 : 0;
    return p->errands.count + others * count < ERRANDS_MAX &&
           p->errands.bytes + record->value.len + others * one->bytes < ERRAND_BYTES_MAX;
}

/* The same command again: where it waits it goes on waiting; a call that is out answers for it too. */
static sb_code_t take_repeat(sb_participants_t *p, sb_errand_t *errand, const sb_record_t *record,
                             int64_t now, sb_error_t *err)
{
    size_t before = errand->bytes;
    sb_code_t code = sb_errand_renew(errand, record, now, err);
    if (code != SB_OK)
        return code;
    note_bytes(p, errand, before);
    if (errand->list == &errand->participant->out && !errand->participant->http) {
        errand->repeat = true;
        errand->since_us = now;
        sb_gate_make_ready(errand, true); /* it has its place */
    }
    return SB_OK;
}

sb_code_t sb_gate_take(sb_participants_t *p, participant_t *one, const sb_record_t *record, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    sb_uuid_t id = SB_UUID_NIL;
    for (size_t i = 0; i < record->header_count; i++)
        if (strcmp(record->headers[i].name, SB_H_ID) == 0)
            (void)sb_uuid_parse(record->headers[i].value.ptr, record->headers[i].value.len, &id);
    sb_errand_t *errand = sb_errands_find(&p->errands, &id);
    if (errand) {
        sb_code_t code = take_repeat(p, errand, record, now, err);
        pump(p, one, NULL);
        return code;
    }
    if (!has_room(p, one, record))
        return sb_fail(err, SB_BUSY, "participant %s: too many commands wait", one->name);
    sb_code_t code = sb_errand_new(&errand, record, now, err);
    if (code != SB_OK)
        return code;
    errand->participant = one;
    sb_errands_add(&p->errands, errand);
    note_bytes(p, errand, 0);
    sb_gate_make_ready(errand, false);
    pump(p, one, NULL);
    return SB_OK;
}

/* A reply over Kafka frees the place of its command. */
void sb_gate_note_reply(sb_participants_t *p, const sb_message_t *message)
{
    participant_t *one = sb_participant_by_type(p, sb_message_header(message, SB_H_TYPE));
    sb_uuid_t id;
    sb_slice_t outcome = sb_message_header(message, SB_H_OUTCOME);
    sb_slice_t causation = sb_message_header(message, SB_H_CAUSATION);
    if (!one)
        return;
    sb_participant_count_outcome(one,
                                 sb_slice_is(outcome, "success")   ? SB_OUTCOME_SUCCESS
                                 : sb_slice_is(outcome, "failure") ? SB_OUTCOME_FAILURE
                                 : sb_slice_is(outcome, "pending") ? SB_OUTCOME_PENDING
                                                                   : SB_OUTCOME_ERROR,
                                 sb_message_header(message, SB_H_ERROR));
    if (!one->guarded || !causation.ptr || !sb_uuid_parse(causation.ptr, causation.len, &id))
        return;
    sb_errand_t *errand = sb_errands_find(&p->errands, &id);
    if (!errand)
        return;
    if (sb_slice_is(outcome, "pending"))
        errand->out_us = sb_mono_us(); /* it works on it, and keeps its place */
    else if (one->http ? !errand->call : errand->list == &one->out)
        sb_gate_drop(p, errand); /* one over HTTP may answer by the topic after it said 202 */
}

/* ---- time ---- */

static const char *why_it_waits(const sb_errand_t *errand, int64_t now, char *text, size_t cap)
{
    const participant_t *one = errand->participant;
    sb_breaker_state_t breaker = one->http ? sb_breaker_state(&one->breaker, now) : SB_BREAKER_CLOSED;
    const char *why = one->pause_us > now               ? "it asked to be left alone (Retry-After)"
                      : breaker == SB_BREAKER_OPEN      ? "its circuit breaker is open"
                      : breaker == SB_BREAKER_HALF_OPEN ? "its circuit breaker is half-open"
                      : errand->list == &one->later && errand->repeat ? "its budget for repeats is used up"
                      : sb_rate_wait_us(&one->rate, now)              ? "its rate is used up"
                                                                      : "all its places are taken";
    (void)snprintf(text, cap, "participant %s was not called for %lld s: %s%s%.100s", one->name,
                   (long long)(one->settings.wait_us / 1000000), why,
                   one->state.error[0] ? "; last error: " : "", one->state.error);
    return text;
}

/* It has waited for too long; but while its saga is paused, no time passes for it. */
static void end_waiting(sb_participants_t *p, sb_errand_t *errand, int64_t now, const char *why,
                        const sink_t *sink)
{
    sb_wanted_t wanted = ask_wanted(p, errand);
    if (wanted == SB_WANTED_LATER) {
        errand->since_us = errand->not_before_us > now ? errand->not_before_us : now;
        errand->working_us = errand->working_us ? now : 0;
    } else if (wanted == SB_UNWANTED) {
        sb_gate_drop(p, errand);
    } else {
        (void)fail_errand(p, errand, why, sink);
    }
}

/* Holds the clock of what waits, and ends what has waited for too long. */
static void tend_waiting(sb_participants_t *p, participant_t *one, sb_errand_list_t *list, int64_t now,
                         const sink_t *sink)
{
    char why[320];
    for (sb_errand_t *errand = list->first, *next; errand; errand = next) {
        next = errand->next;
        bool over = now - errand->since_us > one->settings.wait_us;
        bool dull = errand->working_us && now - errand->working_us > one->settings.working_us;
        if (over || dull)
            end_waiting(p, errand, now,
                        dull ? "it has been working for longer than working_ms"
                             : why_it_waits(errand, now, why, sizeof why),
                        sink);
        else if (clock_is_short(errand, now, 2))
            (void)hold(p, errand, now, sink);
    }
}

static void wake_later(participant_t *one, int64_t now)
{
    for (sb_errand_t *errand = one->later.first, *next; errand; errand = next) {
        next = errand->next;
        if (errand->not_before_us <= now)
            sb_gate_make_ready(errand, false);
    }
}

/* A reply over Kafka that never came: the machine sends again or has given up. */
static void expire_out(sb_participants_t *p, participant_t *one, int64_t now)
{
    for (sb_errand_t *errand = one->out.first, *next; errand && !one->http; errand = next) {
        next = errand->next;
        int64_t patience = errand->patience_us ? errand->patience_us : one->settings.wait_us;
        if (now - errand->out_us > patience + 1000000)
            sb_gate_drop(p, errand);
    }
}

void sb_gate_tick(sb_participants_t *p, const sink_t *sink)
{
    int64_t now = sb_mono_us();
    bool due = now >= p->tick_us;
    if (due)
        p->tick_us = now + TICK_US;
    for (int i = 0; i < p->count; i++) {
        participant_t *one = p->participant[i];
        if (!one->guarded)
            continue;
        wake_later(one, now);
        if (due) {
            expire_out(p, one, now);
            tend_waiting(p, one, &one->ready[0], now, sink);
            tend_waiting(p, one, &one->ready[1], now, sink);
            tend_waiting(p, one, &one->later, now, sink);
        }
        pump(p, one, sink);
    }
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_due(const sb_participants_t *p, const participant_t *one, int64_t now)
{
    int64_t due = NEVER;
    bool ready = one->ready[0].count + one->ready[1].count > 0;
    if (ready || one->later.count > 0 || (!one->http && one->out.count > 0))
        due = p->tick_us > now ? p->tick_us : now + TICK_US;
    if (ready && one->settings.rate > 0)
        due = sooner(due, now + sb_rate_wait_us(&one->rate, now) + 100);
    if (ready && one->pause_us > now)
        due = sooner(due, one->pause_us);
    for (const sb_errand_t *errand = one->later.first; errand; errand = errand->next)
        due = sooner(due, errand->not_before_us);
    return due;
}

/* The orchestrator sleeps on one descriptor: the timer is in it. */
void sb_gate_arm(sb_participants_t *p)
{
    int64_t now = sb_mono_us();
    int64_t due = p->landed ? now + TICK_US : NEVER;
    for (int i = 0; i < p->count; i++)
        if (p->participant[i]->guarded)
            due = sooner(due, next_due(p, p->participant[i], now));
    if (due == NEVER || (p->armed_us > now && p->armed_us <= due))
        return;
    int64_t wait = due > now + 500 ? due - now : 500;
    struct itimerspec when = {.it_value = {wait / 1000000, (wait % 1000000) * 1000}};
    (void)timerfd_settime(p->timer_fd, 0, &when, NULL);
    p->armed_us = now + wait;
}
