/* A command's way: `take` (new, or a repeat that renews), `pump` (its turn: saga, breaker, budget, rate,
 * place), out, then `land` (an HTTP answer) or `note_reply` (one over Kafka). `tick` looks after what waits.
 *
 * Replies are made only inside of poll, where the orchestrator takes them; so what has waited for long enough
 * that the machine's clock must be started anew goes out from there, and what is fresh goes out at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/participants.h"

#include "base/breaker.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "bus/topic.h"
#include "events/saga_number.h"
#include "saga/contract.h"
#include "saga/orchestrator/errand.h"
#include "saga/orchestrator/http_exchange.h"
#include "saga/orchestrator/participant_settings.h"
#include "saga/orchestrator/reply.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ERRANDS_MAX      10000
#define ERRAND_BYTES_MAX (64u << 20)
#define TICK_US          100000
#define PUBLISH_US       200000
#define MISS_DELAY_MS    200 /* after a connection that was not to be had; doubled up to … */
#define MISS_DELAY_MAX   10000
#define WORKING_DELAY_US 1000000 /* ask again when nothing was said about it */
#define BUSY_DELAY_S     1
#define PAUSE_MAX_S      3600
#define CALL_MIN_MS      50
#define NEVER            INT64_MAX

typedef struct sb_participant {
    char name[SB_PARTICIPANT_NAME_MAX + 1];
    sb_topic_t topic;
    sb_participant_settings_t settings;
    bool http;
    bool guarded; /* has errands: over HTTP, or with limits */
    sb_breaker_t breaker;
    sb_bulkhead_t bulkhead;
    sb_rate_t rate;
    sb_retry_budget_t budget;
    int64_t pause_us;          /* nothing goes before: Retry-After */
    sb_errand_list_t ready[2]; /* undos, the others */
    sb_errand_list_t later;    /* not before their time */
    sb_errand_list_t out;
    sb_participant_state_t state;
} participant_t;

/* An HTTP answer on its way from the client's thread. */
typedef struct landed {
    struct landed *next;
    sb_participants_t *owner;
    sb_uuid_t id;
    uint64_t call;
    sb_code_t code;
    sb_http_verdict_t verdict;
    int64_t elapsed_us;
    sb_slice_t body;
    char *text;
} landed_t;

struct sb_participants {
    const sb_config_t *config;
    const sb_orchestrator_bus_t *inner;
    void *bus;
    sb_wanted_fn wanted;
    void *wanted_context;
    const char *prefix;
    sb_topic_t reply_topic;
    participant_t *participant[SB_PARTICIPANTS_MAX];
    int count;
    int guarded; /* how many of them */
    int http;
    sb_errands_t errands;
    bool held[SB_SHARDS_MAX]; /* shards whose replies are read here */
    uint64_t calls;
    sb_http_multi_t *client;
    sb_http_request_t request;
    int64_t tick_us, publish_us, armed_us;
    int epoll_fd, timer_fd, inner_fd;
    sb_signal_t landing;
    landed_t *landed; /* taken off the list, not handled yet */

    pthread_mutex_t lock; /* guards all that follows */
    landed_t *first_landed, *last_landed;
    sb_participant_state_t published[SB_PARTICIPANTS_MAX];
    int published_count;
};

/* Where replies go while the orchestrator polls. */
typedef struct sink {
    sb_message_fn on_message;
    void *context;
    int *count;
    int max;
} sink_t;

/* ---- participants ---- */

/* What may be shown of a URL: no user, no query. */
static void show_url(const char *url, char *out, size_t cap)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t scheme = (size_t)(host - url);
    size_t length = strcspn(host, "?#");
    const char *slash = memchr(host, '/', length);
    const char *at = memrchr(host, '@', slash ? (size_t)(slash - host) : length);
    if (at) {
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    (void)snprintf(out, cap, "%.*s%.*s", (int)scheme, url, (int)length, host);
}

static sb_code_t add_participant(sb_participants_t *p, const char *name, participant_t **out, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    participant_t *one = calloc(1, sizeof *one);
    if (!one)
        return sb_fail(err, SB_NO_MEMORY, "participant %s: out of memory", name);
    (void)snprintf(one->name, sizeof one->name, "%s", name);
    sb_code_t code = sb_participant_settings_read(p->config, name, &one->settings, err);
    if (code == SB_OK)
        code = sb_topic_commands(one->topic, p->prefix, sb_slice(name), err);
    if (code != SB_OK) {
        free(one);
        return code;
    }
    const sb_participant_settings_t *s = &one->settings;
    one->http = s->url[0] != '\0';
    one->guarded = one->http || s->concurrency > 0 || s->rate > 0 || s->retry_percent > 0;
    sb_breaker_init(&one->breaker, &s->breaker);
    sb_bulkhead_init(&one->bulkhead, s->concurrency, s->critical_percent);
    sb_rate_init(&one->rate, s->rate, s->burst, now);
    sb_retry_budget_init(&one->budget, s->retry_percent, 10, 0, now);
    (void)snprintf(one->state.name, sizeof one->state.name, "%s", name);
    one->state.http = one->http;
    one->state.concurrency = s->concurrency;
    one->state.rate = s->rate;
    show_url(s->url, one->state.url, sizeof one->state.url);
    p->participant[p->count++] = one;
    p->guarded += one->guarded;
    p->http += one->http;
    *out = one;
    return SB_OK;
}

static sb_code_t on_configured(void *context, const char *name, sb_error_t *err)
{
    participant_t *ignored;
    return add_participant(context, name, &ignored, err);
}

static participant_t *by_topic(sb_participants_t *p, const char *topic)
{
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->participant[i]->topic, topic) == 0)
            return p->participant[i];
    size_t n = strlen(p->prefix);
    participant_t *one = NULL;
    if (p->count < SB_PARTICIPANTS_MAX && strncmp(topic, p->prefix, n) == 0 &&
        strncmp(topic + n, "cmd.", 4) == 0 && strlen(topic + n + 4) <= SB_PARTICIPANT_NAME_MAX &&
        add_participant(p, topic + n + 4, &one, NULL) != SB_OK)
        return NULL;
    return one;
}

/* By the type of a command or reply: "payment.charge.reply". */
static participant_t *by_type(sb_participants_t *p, sb_slice_t type)
{
    const char *dot = type.len ? memchr(type.ptr, '.', type.len) : NULL;
    sb_slice_t name = {type.ptr, dot ? (size_t)(dot - type.ptr) : 0};
    for (int i = 0; name.len > 0 && i < p->count; i++)
        if (sb_slice_is(name, p->participant[i]->name))
            return p->participant[i];
    return NULL;
}

static void note_error(participant_t *one, sb_slice_t text)
{
    one->state.error_us = sb_wall_us();
    (void)snprintf(one->state.error, sizeof one->state.error, "%.*s", (int)(text.len > 159 ? 159 : text.len),
                   text.ptr ? text.ptr : "");
}

static void count_outcome(participant_t *one, sb_outcome_t outcome, sb_slice_t error)
{
    one->state.succeeded += outcome == SB_OUTCOME_SUCCESS;
    one->state.refused += outcome == SB_OUTCOME_FAILURE;
    one->state.errors += outcome == SB_OUTCOME_ERROR;
    one->state.pending += outcome == SB_OUTCOME_PENDING;
    if (outcome == SB_OUTCOME_ERROR)
        note_error(one, error);
}

/* ---- errands ---- */

static void leave_place(sb_errand_t *errand)
{
    if (errand->placed)
        sb_bulkhead_leave(&errand->participant->bulkhead);
    errand->placed = false;
}

static void drop(sb_participants_t *p, sb_errand_t *errand)
{
    leave_place(errand);
    if (errand->call) {
        sb_breaker_dropped(&errand->participant->breaker, errand->ticket);
        sb_http_multi_cancel(p->client, errand->call_id);
    }
    sb_errand_leave(errand);
    sb_errands_remove(&p->errands, errand);
    p->errands.bytes -= errand->bytes;
    sb_errand_free(errand);
}

static void make_ready(sb_errand_t *errand, bool first)
{
    sb_errand_list_t *list = &errand->participant->ready[errand->undo ? 0 : 1];
    errand->not_before_us = 0;
    if (first)
        sb_errand_prepend(list, errand);
    else
        sb_errand_append(list, errand);
}

static void make_later(sb_errand_t *errand, int64_t not_before_us)
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
static bool is_here(const sb_participants_t *p, const sb_errand_t *errand)
{
    return errand->shard >= 0 && errand->shard < SB_SHARDS_MAX && p->held[errand->shard];
}

/* Not SB_OK: try again later. */
static sb_code_t answer(sb_participants_t *p, const sb_errand_t *errand, const sb_errand_reply_t *reply,
                        const sink_t *sink)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_errand_message_t made;
    sb_errand_answer(errand, reply, errand->participant->name, &made);
    if (!is_here(p, errand))
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

/* Starts the machine's clock of the try anew. */
static bool hold(sb_participants_t *p, sb_errand_t *errand, int64_t now, const sink_t *sink)
{
    const sb_errand_reply_t pending = {.outcome = SB_OUTCOME_PENDING};
    if (is_here(p, errand) && (*sink->count >= sink->max || answer(p, errand, &pending, sink) != SB_OK))
        return false;
    sb_errand_restart_clock(errand, now);
    return true;
}

/* The machine would end the try before long. */
static bool clock_is_short(const sb_errand_t *errand, int64_t now, int part)
{
    return errand->patience_us > 0 && now - errand->clock_us > errand->patience_us / part;
}

/* Ends an errand with what the machine takes for a try that failed. */
static bool fail_errand(sb_participants_t *p, sb_errand_t *errand, const char *why, const sink_t *sink)
{
    sb_errand_reply_t reply = {
        .outcome = SB_OUTCOME_ERROR, .error_class = SB_CLASS_INFRASTRUCTURE, .error = sb_slice(why)};
    if (*sink->count >= sink->max || answer(p, errand, &reply, sink) != SB_OK)
        return false;
    note_error(errand->participant, reply.error);
    errand->participant->state.gave_up++;
    drop(p, errand);
    return true;
}

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

static void free_landed(landed_t *landed)
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
    leave_place(errand);
}

/* Nothing was sent, so nothing can have happened: it goes again from here, without a try of the machine's. */
static void try_connection_again(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    int64_t delay_ms = MISS_DELAY_MS << (errand->misses < 6 ? errand->misses : 6);
    errand->misses++;
    note_error(errand->participant, sb_slice(landed->verdict.error));
    make_later(errand, now + 1000 * (delay_ms < MISS_DELAY_MAX ? delay_ms : MISS_DELAY_MAX));
}

static void ask_again(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    int64_t delay_us =
        landed->verdict.retry_after_s >= 0 ? 1000000LL * landed->verdict.retry_after_s : WORKING_DELAY_US;
    errand->participant->state.pending++;
    errand->misses = 0;
    errand->since_us = now;
    if (errand->working_us == 0)
        errand->working_us = now;
    make_later(errand, now + (delay_us > 0 ? delay_us : WORKING_DELAY_US / 10));
}

/* It paces itself: nothing goes to it before the time it named. */
static void obey(sb_errand_t *errand, const landed_t *landed, int64_t now)
{
    participant_t *one = errand->participant;
    int64_t seconds = landed->verdict.retry_after_s >= 0 ? landed->verdict.retry_after_s : BUSY_DELAY_S;
    int64_t until = now + 1000000LL * (seconds < PAUSE_MAX_S ? seconds : PAUSE_MAX_S);
    if (until > one->pause_us)
        one->pause_us = until;
    note_error(one, sb_slice(landed->verdict.error));
    make_ready(errand, true);
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
        if (is_here(p, errand))
            try_connection_again(errand, landed, now);
        else
            drop(p, errand);
        return true;
    }
    if (v->means == SB_HTTP_MEANS_OUTCOME) {
        sb_errand_reply_t reply = {.outcome = v->outcome,
                                   .error_class = v->error_class,
                                   .attention = v->attention,
                                   .result = landed->body,
                                   .error = v->error[0] ? sb_slice(v->error) : SB_SLICE_NONE};
        if (*sink->count >= sink->max || answer(p, errand, &reply, sink) != SB_OK)
            return false;
        settle_call(errand, landed, now);
        count_outcome(errand->participant, v->outcome, reply.error);
        drop(p, errand);
        return true;
    }
    settle_call(errand, landed, now);
    if (!is_here(p, errand))
        drop(p, errand);
    else if (v->means == SB_HTTP_MEANS_WORKING)
        ask_again(errand, landed, now);
    else
        obey(errand, landed, now);
    return true;
}

static void take_landed(sb_participants_t *p)
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

static void land_all(sb_participants_t *p, const sink_t *sink)
{
    take_landed(p);
    while (p->landed && land(p, p->landed, sink)) {
        landed_t *done = p->landed;
        p->landed = done->next;
        free_landed(done);
    }
}

/* ---- out ---- */

static uint32_t call_ms(const sb_errand_t *errand, int64_t now)
{
    int64_t left_ms = errand->participant->settings.timeout_ms;
    if (errand->patience_us > 0) {
        int64_t patience_ms = (errand->clock_us + errand->patience_us - now) / 1000;
        left_ms = patience_ms < left_ms ? patience_ms : left_ms;
    }
    return (uint32_t)(left_ms > CALL_MIN_MS ? left_ms : CALL_MIN_MS);
}

static sb_code_t call_out(sb_participants_t *p, sb_errand_t *errand, int64_t now, sb_error_t *err)
{
    char expiry[SB_TIME_TEXT];
    const sb_participant_settings_t *settings = &errand->participant->settings;
    sb_http_request_source_t source = {.headers = errand->header,
                                       .header_count = errand->header_count,
                                       .expiry = sb_errand_expiry(errand, expiry),
                                       .body = errand->value,
                                       .token = settings->token,
                                       .secret = {(const char *)settings->secret, settings->secret_length},
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
        free_landed(landed);
    else
        errand->call = landed->call;
    return code;
}

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
            p->errands.bytes -= errand->bytes;
            sb_errand_forget_text(errand);
        }
    } else {
        drop(p, errand); /* only its rate is limited: nothing to keep */
    }
}

typedef enum turn { WENT, GONE, NOT_YET, BLOCKED } turn_t;

/* Undoes what was taken of the limits, in the reverse order. */
static turn_t step_back(sb_errand_t *errand, bool placed_now, bool entered)
{
    if (entered)
        sb_breaker_dropped(&errand->participant->breaker, errand->ticket);
    if (placed_now)
        leave_place(errand);
    return BLOCKED;
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
    sb_wanted_t wanted = p->wanted(p->wanted_context, errand->tag, sb_errand_header(errand, SB_H_SAGA_STEP),
                                   errand->undo, errand->round);
    if (wanted == SB_UNWANTED) {
        drop(p, errand);
        return GONE;
    }
    if (wanted == SB_WANTED_LATER) {
        make_later(errand, now + 1000000);
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
        make_later(errand, now + sb_retry_budget_wait_us(&one->budget, now));
        return NOT_YET;
    }
    sb_code_t code = one->http ? call_out(p, errand, now, &err) : produce(p, errand, &err);
    if (code != SB_OK)
        return step_back(errand, placed_now, one->http);
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

static bool has_room(const sb_participants_t *p, const sb_record_t *record)
{
    return p->errands.count < ERRANDS_MAX && p->errands.bytes + record->value.len < ERRAND_BYTES_MAX;
}

/* The same command again: where it waits it goes on waiting; a call that is out answers for it too. */
static sb_code_t take_repeat(sb_participants_t *p, sb_errand_t *errand, const sb_record_t *record,
                             int64_t now, sb_error_t *err)
{
    size_t before = errand->bytes;
    sb_code_t code = sb_errand_renew(errand, record, now, err);
    if (code != SB_OK)
        return code;
    p->errands.bytes += errand->bytes - before;
    if (errand->list == &errand->participant->out && !errand->participant->http) {
        errand->repeat = true;
        errand->since_us = now;
        make_ready(errand, true); /* it has its place */
    }
    return SB_OK;
}

static sb_code_t take(sb_participants_t *p, participant_t *one, const sb_record_t *record, sb_error_t *err)
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
    if (!has_room(p, record))
        return sb_fail(err, SB_BUSY, "participant %s: too many commands wait", one->name);
    sb_code_t code = sb_errand_new(&errand, record, now, err);
    if (code != SB_OK)
        return code;
    errand->participant = one;
    sb_errands_add(&p->errands, errand);
    p->errands.bytes += errand->bytes;
    make_ready(errand, false);
    pump(p, one, NULL);
    return SB_OK;
}

/* A reply over Kafka frees the place of its command. */
static void note_reply(sb_participants_t *p, const sb_message_t *message)
{
    participant_t *one = by_type(p, sb_message_header(message, SB_H_TYPE));
    sb_uuid_t id;
    sb_slice_t outcome = sb_message_header(message, SB_H_OUTCOME);
    sb_slice_t causation = sb_message_header(message, SB_H_CAUSATION);
    if (!one)
        return;
    count_outcome(one,
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
        drop(p, errand); /* one over HTTP may answer by the topic after it said 202 */
}

typedef struct inner_sink {
    sb_participants_t *owner;
    sb_message_fn on_message;
    void *context;
} inner_sink_t;

static sb_code_t on_inner(void *context, const sb_message_t *message, sb_error_t *err)
{
    const inner_sink_t *sink = context;
    note_reply(sink->owner, message);
    return sink->on_message(sink->context, message, err);
}

/* ---- time ---- */

static const char *why_it_waits(const participant_t *one, int64_t now, char *text, size_t cap)
{
    const char *why = one->pause_us > now                      ? "it asked to be left alone (Retry-After)"
                      : sb_breaker_wait_us(&one->breaker, now) ? "its circuit breaker is open"
                      : sb_rate_wait_us(&one->rate, now)       ? "its rate is used up"
                                                               : "all its places are taken";
    (void)snprintf(text, cap, "participant %s was not called for %lld s: %s%s%.100s", one->name,
                   (long long)(one->settings.wait_us / 1000000), why,
                   one->state.error[0] ? "; last error: " : "", one->state.error);
    return text;
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
            (void)fail_errand(p, errand,
                              dull ? "it has been working for longer than working_ms"
                                   : why_it_waits(one, now, why, sizeof why),
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
            make_ready(errand, false);
    }
}

/* A reply over Kafka that never came: the machine sends again or has given up. */
static void expire_out(sb_participants_t *p, participant_t *one, int64_t now)
{
    for (sb_errand_t *errand = one->out.first, *next; errand && !one->http; errand = next) {
        next = errand->next;
        int64_t patience = errand->patience_us ? errand->patience_us : one->settings.wait_us;
        if (now - errand->out_us > patience + 1000000)
            drop(p, errand);
    }
}

static void tick(sb_participants_t *p, const sink_t *sink)
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
static void arm(sb_participants_t *p)
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

/* ---- what is told ---- */

static void publish(sb_participants_t *p)
{
    int64_t now = sb_mono_us();
    if (now < p->publish_us)
        return;
    p->publish_us = now + PUBLISH_US;
    (void)pthread_mutex_lock(&p->lock);
    for (int i = 0; i < p->count; i++) {
        participant_t *one = p->participant[i];
        sb_participant_state_t *s = &one->state;
        int64_t wait = one->pause_us > now ? one->pause_us - now : 0;
        int64_t open = one->http ? sb_breaker_wait_us(&one->breaker, now) : 0;
        s->breaker = one->http ? sb_breaker_state_name(sb_breaker_state(&one->breaker, now)) : NULL;
        s->breaker_opened = one->breaker.opened_count;
        s->retry_in_ms = (open != NEVER && open > wait ? open : wait) / 1000;
        s->waiting = one->ready[0].count + one->ready[1].count + one->later.count;
        s->out = one->out.count;
        p->published[i] = *s;
    }
    p->published_count = p->count;
    (void)pthread_mutex_unlock(&p->lock);
}

size_t sb_participants_list(sb_participants_t *p, sb_participant_state_t *out, size_t max)
{
    (void)pthread_mutex_lock(&p->lock);
    size_t count = (size_t)p->published_count < max ? (size_t)p->published_count : max;
    memcpy(out, p->published, count * sizeof *out);
    (void)pthread_mutex_unlock(&p->lock);
    return count;
}

/* ---- the operations ---- */

static sb_code_t start_client(sb_participants_t *p, sb_error_t *err)
{
    sb_http_multi_config_t config = {.ca_file = sb_config_get(p->config, "participants.ca_file"),
                                     .answer_bytes_max = SB_REPLY_RESULT_MAX};
    for (int i = 0; i < p->count; i++) {
        uint32_t places = p->participant[i]->http ? p->participant[i]->settings.concurrency : 0;
        config.calls_max += places * 2; /* what was cancelled may not have ended yet */
        config.connections_max += places;
        if (places > config.host_connections_max)
            config.host_connections_max = places;
    }
    return sb_http_multi_start(&p->client, &config, err);
}

static void watch(sb_participants_t *p, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (fd >= 0)
        (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* The inner bus may have another descriptor since it was opened again. */
static int wake_fd(void *context)
{
    sb_participants_t *p = context;
    int inner = p->inner->wake_fd(p->bus);
    if (p->guarded == 0)
        return inner;
    if (inner != p->inner_fd) {
        if (p->inner_fd >= 0)
            (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->inner_fd, NULL);
        watch(p, inner);
        p->inner_fd = inner;
    }
    return p->epoll_fd;
}

static sb_code_t start(void *context, sb_producer_failed_fn on_failed, void *argument, sb_error_t *err)
{
    sb_participants_t *p = context;
    p->inner_fd = -1;
    sb_code_t code = p->inner->start(p->bus, on_failed, argument, err);
    if (code == SB_OK && p->http > 0 && !p->client)
        code = start_client(p, err);
    return code;
}

static void drop_all(sb_participants_t *p)
{
    for (int i = 0; i < p->count; i++) {
        participant_t *one = p->participant[i];
        sb_errand_list_t *lists[] = {&one->ready[0], &one->ready[1], &one->later, &one->out};
        for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++)
            while (lists[k]->first)
                drop(p, lists[k]->first);
    }
}

static void end_calls(sb_participants_t *p)
{
    drop_all(p);
    sb_http_multi_stop(&p->client); /* every call lands */
    take_landed(p);
    while (p->landed) {
        landed_t *landed = p->landed;
        p->landed = landed->next;
        free_landed(landed);
    }
}

static void stop(void *context)
{
    sb_participants_t *p = context;
    end_calls(p);
    if (p->inner_fd >= 0)
        (void)epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, p->inner_fd, NULL);
    p->inner_fd = -1;
    p->inner->stop(p->bus);
}

static sb_code_t assign(void *context, int shard, int64_t offset, const char *cluster, sb_error_t *err)
{
    sb_participants_t *p = context;
    sb_code_t code = p->inner->assign(p->bus, shard, offset, cluster, err);
    p->held[shard] = code == SB_OK;
    return code;
}

/* What waits is sent by the next owner; a call that is out answers to the reply topic. */
static void unassign(void *context, int shard)
{
    sb_participants_t *p = context;
    p->held[shard] = false;
    for (int i = 0; i < p->count; i++) {
        participant_t *one = p->participant[i];
        sb_errand_list_t *lists[] = {&one->ready[0], &one->ready[1], &one->later,
                                     one->http ? NULL : &one->out};
        for (size_t k = 0; k < sizeof lists / sizeof lists[0] && lists[k]; k++) {
            for (sb_errand_t *errand = lists[k]->first, *next; errand; errand = next) {
                next = errand->next;
                if (errand->shard == shard)
                    drop(p, errand);
            }
        }
    }
    p->inner->unassign(p->bus, shard);
}

static sb_code_t poll_replies(void *context, int max, sb_message_fn on_message, void *argument, int *count,
                              bool *reset, sb_error_t *err)
{
    sb_participants_t *p = context;
    inner_sink_t inner = {.owner = p, .on_message = on_message, .context = argument};
    sink_t sink = {.on_message = on_message, .context = argument, .count = count, .max = max};
    int below = 0;
    *count = 0;
    if (p->guarded > 0)
        land_all(p, &sink);
    sb_code_t code = SB_OK;
    if (*count < max)
        code = p->inner->poll(p->bus, max - *count, on_inner, &inner, &below, reset, err);
    *count += below;
    if (p->guarded > 0) {
        uint64_t expired;
        if (read(p->timer_fd, &expired, sizeof expired) < 0)
            expired = 0; /* it has not */
        tick(p, &sink);
        arm(p);
    }
    publish(p);
    return code;
}

static const char *cluster(void *context)
{
    sb_participants_t *p = context;
    return p->inner->cluster(p->bus);
}

static bool connected(void *context)
{
    sb_participants_t *p = context;
    return p->inner->connected(p->bus);
}

static sb_code_t send_record(void *context, const sb_record_t *record, sb_error_t *err)
{
    sb_participants_t *p = context;
    participant_t *one = record->partition < 0 ? by_topic(p, record->topic) : NULL;
    if (one && one->guarded)
        return take(p, one, record, err);
    sb_code_t code = p->inner->send(p->bus, record, err);
    if (one && code == SB_OK)
        one->state.sent++;
    return code;
}

static void serve(void *context)
{
    sb_participants_t *p = context;
    p->inner->serve(p->bus);
    if (p->guarded > 0)
        arm(p);
}

static sb_code_t flush(void *context, int timeout_ms, sb_error_t *err)
{
    sb_participants_t *p = context;
    return p->inner->flush(p->bus, timeout_ms, err);
}

const sb_orchestrator_bus_t sb_participants_operations = {
    .start = start,
    .stop = stop,
    .assign = assign,
    .unassign = unassign,
    .poll = poll_replies,
    .wake_fd = wake_fd,
    .cluster = cluster,
    .connected = connected,
    .send = send_record,
    .serve = serve,
    .flush = flush,
};

/* ---- opening ---- */

static sb_code_t open_descriptors(sb_participants_t *p, sb_error_t *err)
{
    sb_code_t code = sb_signal_init(&p->landing, err);
    if (code != SB_OK)
        return code;
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (p->epoll_fd < 0 || p->timer_fd < 0)
        return sb_fail(err, SB_UNAVAILABLE, "participants: no file descriptor is left");
    watch(p, p->timer_fd);
    watch(p, p->landing.fd);
    return SB_OK;
}

sb_code_t sb_participants_new(sb_participants_t **out, const sb_config_t *config,
                              const sb_orchestrator_bus_t *operations, void *bus, sb_wanted_fn wanted,
                              void *context, sb_error_t *err)
{
    *out = NULL;
    sb_participants_t *p = calloc(1, sizeof *p);
    if (!p)
        return sb_fail(err, SB_NO_MEMORY, "participants: out of memory");
    p->config = config;
    p->inner = operations;
    p->bus = bus;
    p->wanted = wanted;
    p->wanted_context = context;
    p->prefix = sb_config_get(config, "kafka.prefix");
    p->epoll_fd = p->timer_fd = p->inner_fd = p->landing.fd = -1;
    (void)pthread_mutex_init(&p->lock, NULL);
    sb_code_t code = sb_topic_replies(p->reply_topic, p->prefix, err);
    if (code == SB_OK)
        code = sb_participant_settings_each(config, on_configured, p, err);
    if (code == SB_OK)
        code = open_descriptors(p, err);
    if (code == SB_OK)
        publish(p);
    *out = p;
    if (code != SB_OK)
        sb_participants_free(out);
    return code;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void sb_participants_free(sb_participants_t **participants)
{
    sb_participants_t *p = *participants;
    if (!p)
        return;
    end_calls(p);
    for (int i = 0; i < p->count; i++)
        free(p->participant[i]);
    sb_http_request_fini(&p->request);
    close_fd(p->epoll_fd);
    close_fd(p->timer_fd);
    if (p->landing.fd >= 0)
        sb_signal_fini(&p->landing);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    *participants = NULL;
}
