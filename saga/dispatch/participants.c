/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/participants_internal.h"

#include "base/clock.h"
#include "saga/contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define PUBLISH_US 200000
#define NEVER      INT64_MAX

/* ---- participants ---- */

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
    one->state.counted = one->guarded;
    one->state.concurrency = s->concurrency;
    one->state.rate = s->rate;
    sb_http_show_url(s->url, one->state.url, sizeof one->state.url);
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
participant_t *sb_participant_by_type(sb_participants_t *p, sb_slice_t type)
{
    const char *dot = type.len ? memchr(type.ptr, '.', type.len) : NULL;
    sb_slice_t name = {type.ptr, dot ? (size_t)(dot - type.ptr) : 0};
    for (int i = 0; name.len > 0 && i < p->count; i++)
        if (sb_slice_is(name, p->participant[i]->name))
            return p->participant[i];
    return NULL;
}

void sb_participant_note_error(participant_t *one, sb_slice_t text)
{
    one->state.error_us = sb_wall_us();
    (void)snprintf(one->state.error, sizeof one->state.error, "%.*s", (int)(text.len > 159 ? 159 : text.len),
                   text.ptr ? text.ptr : "");
}

void sb_participant_count_outcome(participant_t *one, sb_outcome_t outcome, sb_slice_t error)
{
    one->state.succeeded += outcome == SB_OUTCOME_SUCCESS;
    one->state.refused += outcome == SB_OUTCOME_FAILURE;
    one->state.errors += outcome == SB_OUTCOME_ERROR;
    one->state.pending += outcome == SB_OUTCOME_PENDING;
    if (outcome == SB_OUTCOME_ERROR)
        sb_participant_note_error(one, error);
}

typedef struct inner_sink {
    sb_participants_t *owner;
    sb_message_fn on_message;
    void *context;
} inner_sink_t;

static sb_code_t on_inner(void *context, const sb_message_t *message, sb_error_t *err)
{
    const inner_sink_t *sink = context;
    sb_gate_note_reply(sink->owner, message);
    return sink->on_message(sink->context, message, err);
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
        bool by_breaker = open != NEVER && open > wait;
        int64_t held = by_breaker ? open : wait;
        s->retry_in_ms = held / 1000;
        s->held_until_us = held ? sb_wall_us() + held : 0;
        s->held_by = by_breaker ? "breaker" : held ? "retry_after" : NULL;
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
    }
    config.host_connections_max = config.connections_max; /* several may be behind one address */
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
                sb_gate_drop(p, lists[k]->first);
    }
}

static void end_calls(sb_participants_t *p)
{
    drop_all(p);
    sb_http_multi_stop(&p->client); /* every call lands */
    sb_participant_take_landed(p);
    while (p->landed) {
        landed_t *landed = p->landed;
        p->landed = landed->next;
        sb_participant_free_landed(landed);
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
                    sb_gate_drop(p, errand);
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
        sb_participant_land_all(p, &sink);
    sb_code_t code = SB_OK;
    if (*count < max)
        code = p->inner->poll(p->bus, max - *count, on_inner, &inner, &below, reset, err);
    *count += below;
    if (p->guarded > 0) {
        uint64_t expired;
        if (read(p->timer_fd, &expired, sizeof expired) < 0)
            expired = 0; /* it has not */
        sb_gate_tick(p, &sink);
        sb_gate_arm(p);
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
        return sb_gate_take(p, one, record, err);
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
        sb_gate_arm(p);
}

static sb_code_t flush(void *context, int timeout_ms, sb_error_t *err)
{
    sb_participants_t *p = context;
    return p->inner->flush(p->bus, timeout_ms, err);
}

const sb_command_bus_t sb_participants_operations = {
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
                              const sb_command_bus_t *operations, void *bus, sb_wanted_fn wanted,
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
