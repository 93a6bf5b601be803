/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signal.h"
#include "server/listen.h"
#include "server/problem.h"
#include "server/wire.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* The loop that runs its notes on this thread now: it looks for answers after them by itself. */
static _Thread_local const struct sb_http *noting;

#define IN_HAND_MAX 4096 /* more than that are answered 429 at once */
#define STREAMS_MAX 1024 /* likewise */

const int sb_http_bucket_ms[11] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000};

struct sb_http {
    struct event_base *base;
    struct evhttp *server;
    struct event *wake;
    struct event *round_end; /* made active by sb_http_after_round */
    void (*after_round)(void *context);
    void *after_context;
    sb_signal_t signal;
    sb_http_fn on_request;
    void *context;
    sb_listen_t listen;
    size_t body_max;
    int idle_s;
    atomic_bool stopping;

    sb_wire_pool_t pool;

    pthread_mutex_t lock; /* of the inbox and the stats */
    sb_request_t *done_first, *done_last;
    sb_note_t *note_first, *note_last;
    sb_http_stats_t stats;
};

struct sb_http_timer {
    struct event *event;
    void (*fn)(void *context);
    void *context;
};

/* ---- requests ---- */

static void end_stream(sb_request_t *request);

/* The client went away while we had its request in hand. The library leaves it to us when it is being
 * answered piece by piece, and takes it off its connection; else it frees it. */
static void on_gone(struct evhttp_connection *connection, void *context)
{
    (void)connection;
    sb_request_t *request = context;
    if (!evhttp_request_get_connection(request->connection))
        evhttp_request_free(request->connection);
    request->connection = NULL;
    if (request->stream.sending) /* nobody else has it */
        end_stream(request);
}

static void count_request(sb_http_t *http, const sb_request_t *request)
{
    int64_t us = sb_mono_us() - request->started_us;
    int bucket = 0;
    while (bucket < 11 && us > (int64_t)sb_http_bucket_ms[bucket] * 1000)
        bucket++;
    (void)pthread_mutex_lock(&http->lock);
    http->stats.in_hand--;
    http->stats.bucket[bucket]++;
    http->stats.seconds += (double)us / 1e6;
    if (request->status >= 100 && request->status < 600)
        http->stats.by_class[request->status / 100]++;
    (void)pthread_mutex_unlock(&http->lock);
}

/* ---- streams ---- */

static void end_stream(sb_request_t *request)
{
    sb_http_t *http = request->http;
    (void)pthread_mutex_lock(&http->lock);
    http->stats.in_hand--;
    http->stats.streams -= request->stream.started;
    (void)pthread_mutex_unlock(&http->lock);
    sb_wire_free(&http->pool, request);
}

static bool begin_stream(sb_http_t *http, sb_request_t *request)
{
    (void)pthread_mutex_lock(&http->lock);
    bool full = http->stats.streams >= STREAMS_MAX;
    http->stats.streams += !full;
    http->stats.by_class[2] += !full;
    (void)pthread_mutex_unlock(&http->lock);
    if (full)
        return false;
    struct evhttp_connection *connection = evhttp_request_get_connection(request->connection);
    /* The client is silent for ever; one that takes nothing any more is cut off. */
    struct timeval patience = {http->idle_s, 0};
    bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), NULL, &patience);
    sb_wire_send_head(request);
    request->stream.started = true;
    return true;
}

static void on_sent(struct evhttp_connection *connection, void *context)
{
    (void)connection;
    sb_request_t *request = context;
    request->stream.sending = false;
    request->stream.resume(request);
}

static void send_end(sb_request_t *request)
{
    struct evhttp_request *raw = request->connection;
    evhttp_connection_set_closecb(evhttp_request_get_connection(raw), NULL, NULL);
    evhttp_send_reply_end(raw);
    end_stream(request);
}

/* One piece is on its way at a time: that bounds what a slow client costs. */
static void send_piece(sb_request_t *request)
{
    bool last = request->stream.ended;
    struct evbuffer *piece = last && request->out.len == 0 ? NULL : evbuffer_new();
    if (!piece || sb_buf_failed(&request->out)) {
        if (piece)
            evbuffer_free(piece);
        send_end(request);
        return;
    }
    if (last) {
        (void)evbuffer_add(piece, sb_buf_text(&request->out), request->out.len);
        evhttp_send_reply_chunk(request->connection, piece);
        evbuffer_free(piece);
        send_end(request);
        return;
    }
    if (request->out.len == 0)
        sb_buf_printf(&request->out, "id: %lld\n\n",
                      (long long)request->wait.at); /* moves the client's place */
    (void)evbuffer_add(piece, sb_buf_text(&request->out), request->out.len);
    sb_buf_reset(&request->out);
    request->stream.sending = true;
    evhttp_send_reply_chunk_with_cb(request->connection, piece, on_sent, request);
    evbuffer_free(piece);
}

/* False: it is to be answered like any other request. */
static bool go_on_with_stream(sb_http_t *http, sb_request_t *request)
{
    if (!request->connection) {
        end_stream(request);
        return true;
    }
    if (!request->stream.started && !begin_stream(http, request)) {
        sb_error_t err;
        (void)sb_fail(&err, SB_BUSY, "%d streams are open", STREAMS_MAX);
        sb_problem(request, &err);
        request->stream.on = false;
        return false;
    }
    send_piece(request);
    return true;
}

static void finish(sb_http_t *http, sb_request_t *request)
{
    if (request->stream.on && go_on_with_stream(http, request))
        return;
    if (sb_buf_failed(&request->out)) {
        sb_error_t err;
        (void)sb_fail(&err, SB_NO_MEMORY, "the answer did not fit into memory");
        sb_buf_fini(&request->out);
        sb_problem(request, &err);
    }
    count_request(http, request);
    if (request->connection) {
        evhttp_connection_set_closecb(evhttp_request_get_connection(request->connection), NULL, NULL);
        sb_wire_send(request, !http->listen.tls);
    }
    sb_wire_free(&http->pool, request);
}

static void on_raw_request(struct evhttp_request *raw, void *context)
{
    sb_http_t *http = context;
    sb_request_t *request = sb_wire_read(&http->pool, raw);
    if (!request) {
        evhttp_send_error(raw, 503, "out of memory");
        return;
    }
    request->http = http;
    evhttp_connection_set_closecb(evhttp_request_get_connection(raw), on_gone, request);
    (void)pthread_mutex_lock(&http->lock);
    http->stats.requests++;
    bool full = http->stats.in_hand++ >= IN_HAND_MAX;
    (void)pthread_mutex_unlock(&http->lock);
    if (request->body.len > http->body_max) {
        sb_error_t err;
        (void)sb_fail(&err, SB_TOO_LARGE, "the body has %zu bytes, the limit is %zu (http.body_max_bytes)",
                      request->body.len, http->body_max);
        sb_problem(request, &err);
        sb_http_done(request);
        return;
    }
    if (full || atomic_load(&http->stopping)) {
        sb_error_t err;
        (void)sb_fail(&err, full ? SB_BUSY : SB_STOPPED, full ? "%d requests are in hand" : "stopping",
                      IN_HAND_MAX);
        sb_problem(request, &err);
        sb_http_done(request);
        return;
    }
    http->on_request(http->context, request);
}

/* ---- inbox ---- */

void sb_http_done(sb_request_t *request)
{
    sb_http_t *http = request->http;
    (void)pthread_mutex_lock(&http->lock);
    request->done = true;
    request->next = NULL;
    if (http->done_last)
        http->done_last->next = request;
    else
        http->done_first = request;
    http->done_last = request;
    (void)pthread_mutex_unlock(&http->lock);
    if (noting != http)
        sb_signal_raise(&http->signal);
}

void sb_http_post(sb_http_t *http, sb_note_t *note)
{
    (void)pthread_mutex_lock(&http->lock);
    note->next = NULL;
    if (http->note_last)
        http->note_last->next = note;
    else
        http->note_first = note;
    http->note_last = note;
    (void)pthread_mutex_unlock(&http->lock);
}

void sb_http_wake(sb_http_t *http)
{
    (void)pthread_mutex_lock(&http->lock);
    bool some = http->note_first != NULL;
    (void)pthread_mutex_unlock(&http->lock);
    if (some)
        sb_signal_raise(&http->signal);
}

/* Events that become active run behind those that are active already. */
void sb_http_after_round(sb_http_t *http, void (*fn)(void *context), void *context)
{
    if (http->after_round)
        return;
    http->after_round = fn;
    http->after_context = context;
    event_active(http->round_end, EV_TIMEOUT, 0);
}

static void on_round_end(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    sb_http_t *http = context;
    void (*fn)(void *context) = http->after_round;
    http->after_round = NULL;
    fn(http->after_context);
}

static void run_notes(sb_http_t *http)
{
    (void)pthread_mutex_lock(&http->lock);
    sb_note_t *note = http->note_first;
    http->note_first = http->note_last = NULL;
    (void)pthread_mutex_unlock(&http->lock);
    while (note) {
        sb_note_t *next = note->next;
        note->fn(note->context);
        note = next;
    }
}

static void on_wake(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    sb_http_t *http = context;
    sb_signal_clear(&http->signal);
    noting = http;
    run_notes(http); /* before, because they finish requests */
    noting = NULL;
    (void)pthread_mutex_lock(&http->lock);
    sb_request_t *request = http->done_first;
    http->done_first = http->done_last = NULL;
    (void)pthread_mutex_unlock(&http->lock);
    while (request) {
        sb_request_t *next = request->next;
        finish(http, request);
        request = next;
    }
    if (atomic_load(&http->stopping))
        (void)event_base_loopbreak(http->base);
}

/* ---- timers ---- */

static void on_timer(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    sb_http_timer_t *timer = context;
    timer->fn(timer->context);
}

sb_http_timer_t *sb_http_timer_new(sb_http_t *http, int64_t ms, void (*fn)(void *context), void *context)
{
    sb_http_timer_t *timer = calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    timer->fn = fn;
    timer->context = context;
    timer->event = evtimer_new(http->base, on_timer, timer);
    struct timeval delay = {ms / 1000, (ms % 1000) * 1000};
    if (!timer->event || evtimer_add(timer->event, &delay) != 0) {
        sb_http_timer_free(timer);
        return NULL;
    }
    return timer;
}

void sb_http_timer_free(sb_http_timer_t *timer)
{
    if (!timer)
        return;
    if (timer->event)
        event_free(timer->event);
    free(timer);
}

/* ---- opening ---- */

static sb_code_t configure(sb_http_t *http, const sb_config_t *config, sb_error_t *err)
{
    int64_t body_max = 0, head_max = 0, idle_ms = 0;
    sb_code_t code = sb_config_get_int(config, "http.body_max_bytes", 1024, 64 << 20, &body_max, err);
    if (code == SB_OK)
        code = sb_config_get_int(config, "http.header_max_bytes", 1024, 1 << 20, &head_max, err);
    if (code == SB_OK)
        code = sb_config_get_int(config, "http.idle_timeout_ms", 1000, 3600000, &idle_ms, err);
    if (code != SB_OK)
        return code;
    /* evhttp refuses in HTML; what is not far over the limit comes in and is refused in our words */
    http->body_max = (size_t)body_max;
    evhttp_set_max_body_size(http->server, (ev_ssize_t)body_max * 4);
    evhttp_set_max_headers_size(http->server, (ev_ssize_t)head_max);
    http->idle_s = (int)(idle_ms / 1000);
    evhttp_set_timeout(http->server, http->idle_s);
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                                 EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_PATCH |
                                                 EVHTTP_REQ_OPTIONS);
    evhttp_set_gencb(http->server, on_raw_request, http);
    return sb_listen_open(&http->listen, http->server, config, err);
}

/* Changes of what is waited for at a socket go to the kernel once a round, not each by itself: an answer is
 * three of them. (No descriptor of the loop is a dup() of another, with which epoll would take one for the
 * other.) */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

sb_code_t sb_http_open(sb_http_t **out, const sb_config_t *config, sb_http_fn on_request, void *context,
                       sb_error_t *err)
{
    *out = NULL;
    sb_http_t *http = calloc(1, sizeof *http);
    if (!http)
        return sb_fail(err, SB_NO_MEMORY, "open the HTTP server: out of memory");
    http->on_request = on_request;
    http->context = context;
    http->signal.fd = -1;
    (void)pthread_mutex_init(&http->lock, NULL);
    sb_code_t code = sb_signal_init(&http->signal, err);
    if (code == SB_OK) {
        http->base = new_base();
        http->server = http->base ? evhttp_new(http->base) : NULL;
        http->wake =
            http->server ? event_new(http->base, http->signal.fd, EV_READ | EV_PERSIST, on_wake, http) : NULL;
        http->round_end = http->wake ? evtimer_new(http->base, on_round_end, http) : NULL;
        if (!http->round_end || event_add(http->wake, NULL) != 0)
            code = sb_fail(err, SB_NO_MEMORY, "open the HTTP server: out of memory");
    }
    if (code == SB_OK)
        code = configure(http, config, err);
    if (code != SB_OK) {
        sb_http_close(&http);
        return code;
    }
    *out = http;
    return SB_OK;
}

bool sb_http_is_loopback(const sb_http_t *http)
{
    return http->listen.loopback;
}

const char *sb_http_address(const sb_http_t *http)
{
    return http->listen.address;
}

void sb_http_run(sb_http_t *http)
{
    (void)event_base_dispatch(http->base);
}

void sb_http_stop(sb_http_t *http)
{
    atomic_store(&http->stopping, true);
    sb_signal_raise(&http->signal);
}

void sb_http_close(sb_http_t **http)
{
    sb_http_t *h = *http;
    if (!h)
        return;
    if (h->server)
        evhttp_free(h->server); /* tells requests in hand that their client is gone */
    run_notes(h);               /* of calls that ended when the loop had: they free what they hold */
    while (h->done_first) {
        sb_request_t *request = h->done_first;
        h->done_first = request->next;
        sb_wire_free(&h->pool, request);
    }
    sb_wire_pool_fini(&h->pool);
    if (h->wake)
        event_free(h->wake);
    if (h->round_end)
        event_free(h->round_end);
    if (h->base)
        event_base_free(h->base);
    sb_listen_fini(&h->listen);
    sb_signal_fini(&h->signal);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    *http = NULL;
}

void sb_http_stats(sb_http_t *http, sb_http_stats_t *out)
{
    (void)pthread_mutex_lock(&http->lock);
    *out = http->stats;
    (void)pthread_mutex_unlock(&http->lock);
    out->connections = sb_connections_count(&http->listen.connections);
    out->connections_max = http->listen.connections.max;
    out->refused = atomic_load(&http->listen.connections.refused);
}
