/* SPDX-License-Identifier: Apache-2.0 */
#include "server/tail.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "events/store/store.h"
#include "server/engine.h"
#include "server/problem.h"
#include "server/worker.h"

#include <pthread.h>
#include <stdlib.h>

#define POLL_MS 50 /* where the sequencer is another process's, and for times that end */
#define REST_MS 1000
#define HOLD_MS INT64_C(1000) /* until what failed is tried again */

struct sb_tail {
    sb_engine_t *engine;
    pthread_t thread;
    bool started;
    sb_signal_t signal; /* someone parked, the number moved, or stop */
    atomic_bool stopping;
    _Atomic int64_t seen;
    _Atomic int busy; /* requests from here that a worker has, or will have */
    int busy_max;
    pthread_mutex_t lock; /* of the list and closed */
    sb_request_t *first;
    bool closed;
    sb_pg_t *pg;
    sb_store_t *store;
};

sb_signal_t *sb_tail_signal(sb_tail_t *tail)
{
    return &tail->signal;
}

int64_t sb_tail_seen(const sb_tail_t *tail)
{
    return atomic_load(&tail->seen);
}

void sb_tail_park(sb_tail_t *tail, sb_request_t *request)
{
    (void)pthread_mutex_lock(&tail->lock);
    bool closed = tail->closed;
    if (!closed) {
        request->next = tail->first;
        tail->first = request;
    }
    (void)pthread_mutex_unlock(&tail->lock);
    if (closed) {
        request->stream.ended = true;
        sb_http_done(request);
    } else
        sb_signal_raise(&tail->signal);
}

void sb_tail_returned(sb_tail_t *tail)
{
    atomic_fetch_sub(&tail->busy, 1);
    sb_signal_raise(&tail->signal);
}

void sb_stream_hold(sb_request_t *request)
{
    sb_buf_reset(&request->out);
    request->wait.park = true;
    request->wait.until_us = sb_mono_us() + HOLD_MS * 1000;
    request->wait.seen = INT64_MAX;
}

void sb_stream_give_up(sb_request_t *request, const sb_error_t *err)
{
    sb_problem(request, err); /* its document is one line */
    sb_buf_t piece = SB_BUF_INIT;
    sb_buf_add_text(&piece, "event: error\ndata: ");
    sb_buf_add_slice(&piece, sb_buf_slice(&request->out)); /* ends its line */
    sb_buf_add_text(&piece, "\n");
    piece.failed |= request->out.failed;
    sb_buf_fini(&request->out);
    request->out = piece;
    request->stream.ended = true;
}

/* ---- the number ---- */

static void close_connection(sb_tail_t *tail)
{
    sb_store_close(&tail->store);
    sb_pg_close(&tail->pg);
}

static sb_code_t ask_store(sb_tail_t *tail, int64_t *safe, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = tail->engine->pg_uri, .application_name = "sagabus tail"};
    sb_code_t code = SB_OK;
    if (!sb_pg_is_open(tail->pg)) {
        close_connection(tail);
        code = sb_pg_open(&tail->pg, &config, err);
        if (code == SB_OK)
            code = sb_store_new(&tail->store, tail->pg, tail->engine->catalog, err);
    }
    return code == SB_OK ? sb_store_safe_seq(tail->store, safe, err) : code;
}

/* Nothing has moved here for a while: perhaps elsewhere. A database that is away says nothing new. */
static void look_elsewhere(sb_tail_t *tail)
{
    sb_error_t ignored = SB_ERROR_INIT;
    int64_t safe = 0;
    if (ask_store(tail, &safe, &ignored) != SB_OK)
        close_connection(tail);
    else if (safe > sb_tail_seen(tail))
        atomic_store(&tail->seen, safe);
}

/* ---- who waits ---- */

static sb_request_t *take_all(sb_tail_t *tail)
{
    (void)pthread_mutex_lock(&tail->lock);
    sb_request_t *first = tail->first;
    tail->first = NULL;
    (void)pthread_mutex_unlock(&tail->lock);
    return first;
}

static void put_back(sb_tail_t *tail, sb_request_t *request)
{
    (void)pthread_mutex_lock(&tail->lock);
    request->next = tail->first;
    tail->first = request;
    (void)pthread_mutex_unlock(&tail->lock);
}

/* To a worker again; where all are busy, a moment later. */
static void read_again(sb_tail_t *tail, sb_request_t *request)
{
    sb_error_t ignored = SB_ERROR_INIT;
    if (atomic_load(&tail->busy) >= tail->busy_max) {
        put_back(tail, request);
        return;
    }
    request->wait.counted = true;
    atomic_fetch_add(&tail->busy, 1);
    if (sb_workers_push(tail->engine->workers, request, &ignored) == SB_OK)
        return;
    atomic_fetch_sub(&tail->busy, 1);
    request->wait.counted = false;
    put_back(tail, request);
}

static void serve(sb_tail_t *tail, bool end)
{
    int64_t now = sb_mono_us();
    int64_t seen = sb_tail_seen(tail);
    sb_request_t *next;
    for (sb_request_t *request = take_all(tail); request; request = next) {
        next = request->next;
        request->stream.ended |= end;
        if (end || now >= request->wait.until_us)
            sb_http_done(request);
        else if (request->wait.seen < seen && now >= request->wait.next_us)
            read_again(tail, request);
        else
            put_back(tail, request);
    }
}

static bool anyone(sb_tail_t *tail)
{
    (void)pthread_mutex_lock(&tail->lock);
    bool any = tail->first != NULL;
    (void)pthread_mutex_unlock(&tail->lock);
    return any;
}

static void *run(void *context)
{
    sb_tail_t *tail = context;
    while (!atomic_load(&tail->stopping)) {
        bool waited_for = anyone(tail);
        bool raised = sb_signal_wait(&tail->signal, waited_for ? POLL_MS : REST_MS);
        int64_t safe = atomic_load(&tail->engine->progress.safe_seq);
        if (safe > sb_tail_seen(tail))
            atomic_store(&tail->seen, safe);
        else if (!raised && waited_for)
            look_elsewhere(tail);
        serve(tail, false);
    }
    return NULL;
}

/* ---- open and close ---- */

sb_code_t sb_tail_open(sb_tail_t **out, sb_engine_t *engine, int workers, sb_error_t *err)
{
    *out = NULL;
    sb_tail_t *tail = calloc(1, sizeof *tail);
    if (!tail)
        return sb_fail(err, SB_NO_MEMORY, "open the tail: out of memory");
    tail->engine = engine;
    tail->busy_max = workers > 1 ? workers / 2 : 1;
    atomic_init(&tail->busy, 0);
    tail->signal.fd = -1;
    atomic_init(&tail->stopping, false);
    atomic_init(&tail->seen, 0);
    (void)pthread_mutex_init(&tail->lock, NULL);
    sb_code_t code = sb_signal_init(&tail->signal, err);
    if (code == SB_OK && !sb_thread_start(&tail->thread, "tail", run, tail))
        code = sb_fail(err, SB_UNAVAILABLE, "cannot start the tail's thread");
    tail->started = code == SB_OK;
    if (code != SB_OK) {
        sb_tail_close(&tail);
        return code;
    }
    *out = tail;
    return SB_OK;
}

void sb_tail_stop(sb_tail_t *tail)
{
    if (!tail || !tail->started)
        return;
    atomic_store(&tail->stopping, true);
    sb_signal_raise(&tail->signal);
    (void)pthread_join(tail->thread, NULL);
    tail->started = false;
    (void)pthread_mutex_lock(&tail->lock);
    tail->closed = true;
    (void)pthread_mutex_unlock(&tail->lock);
    serve(tail, true);
    close_connection(tail);
}

void sb_tail_close(sb_tail_t **tail)
{
    sb_tail_t *t = *tail;
    if (!t)
        return;
    sb_tail_stop(t);
    sb_signal_fini(&t->signal);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
    *tail = NULL;
}
