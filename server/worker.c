/* SPDX-License-Identifier: Apache-2.0 */
#include "server/worker.h"

#include "base/thread.h"
#include "server/problem.h"
#include "server/tail.h"

#include <poll.h>
#include <stdlib.h>

struct sb_workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    sb_request_t **job; /* a ring of job_max */
    int job_max;
    int first;
    int count;
    bool closing;
    int worker_count;
    sb_worker_t worker[];
};

static void close_connection(sb_worker_t *worker)
{
    sb_view_reader_free(&worker->views);
    sb_store_close(&worker->store);
    sb_pg_close(&worker->pg);
}

/* Nothing comes on an idle connection but its end (or a notice of it). Seen now, the job runs on a new one;
 * seen at its commit, the client would be told that the outcome is unknown. */
static bool has_died_idle(const sb_pg_t *pg)
{
    struct pollfd wait = {.fd = sb_pg_socket(pg), .events = POLLIN};
    return poll(&wait, 1, 0) > 0;
}

static sb_code_t ensure_connection(sb_worker_t *worker, sb_error_t *err)
{
    if (sb_pg_is_open(worker->pg) && !has_died_idle(worker->pg))
        return SB_OK;
    close_connection(worker);
    sb_pg_config_t config = {.uri = worker->engine->pg_uri, .application_name = "sagabus api"};
    sb_code_t code = sb_pg_open(&worker->pg, &config, err);
    if (code == SB_OK)
        code = sb_store_new(&worker->store, worker->pg, worker->engine->catalog, err);
    if (code == SB_OK)
        sb_store_limit(worker->store, worker->engine->event_bytes_max);
    if (code == SB_OK)
        code = sb_view_reader_new(&worker->views, worker->pg, worker->engine->catalog, err);
    if (code != SB_OK)
        close_connection(worker);
    return code;
}

static sb_code_t try_job(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_code_t code = ensure_connection(worker, err);
    return code == SB_OK ? request->route->in_worker(worker, request, err) : code;
}

static void run_job(sb_worker_t *worker, sb_request_t *request)
{
    sb_error_t err = SB_ERROR_INIT;
    request->status = request->route->status;
    request->wait.park = false;
    sb_buf_reset(&request->out); /* it may have been here before, and waited */
    bool reads = strcmp(request->route->method, "GET") == 0;
    sb_code_t code = try_job(worker, request, &err);
    if (reads && code != SB_OK && !sb_pg_is_open(worker->pg)) {
        /* The connection had died while it was idle; reading again does no harm. */
        sb_buf_reset(&request->out);
        code = try_job(worker, request, &err);
    }
    if (reads && code == SB_UNKNOWN_OUTCOME) /* of a reading there is no outcome to know */
        (void)sb_fail(&err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    if (code != SB_OK && request->stream.started) { /* its head is out */
        if (code == SB_GONE)
            sb_stream_give_up(request, &err); /* waiting brings it not back */
        else
            sb_stream_hold(request); /* it waits until this is over */
        code = SB_OK;
    }
    if (code != SB_OK) {
        request->stream.on = false;
        sb_problem(request, &err);
    }
    bool counted = request->wait.counted;
    request->wait.counted = false;
    if (code == SB_OK && request->wait.park)
        sb_tail_park(worker->engine->tail, request);
    else
        sb_http_done(request);
    if (counted)
        sb_tail_returned(worker->engine->tail);
}

static sb_request_t *next_job(sb_workers_t *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    while (pool->count == 0 && !pool->closing)
        (void)pthread_cond_wait(&pool->changed, &pool->lock);
    sb_request_t *request = NULL;
    if (pool->count > 0) {
        request = pool->job[pool->first];
        pool->first = (pool->first + 1) % pool->job_max;
        pool->count--;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return request;
}

static void *work(void *context)
{
    sb_worker_t *worker = context;
    sb_request_t *request;
    while ((request = next_job(worker->pool)) != NULL)
        run_job(worker, request);
    close_connection(worker);
    return NULL;
}

sb_code_t sb_workers_open(sb_workers_t **out, sb_engine_t *engine, int count, int queue_max, sb_error_t *err)
{
    *out = NULL;
    sb_workers_t *pool = calloc(1, sizeof *pool + (size_t)count * sizeof pool->worker[0]);
    sb_request_t **job = calloc((size_t)queue_max, sizeof(sb_request_t *));
    if (!pool || !job) {
        free(job);
        free(pool);
        return sb_fail(err, SB_NO_MEMORY, "open the workers: out of memory");
    }
    pool->job = job;
    pool->job_max = queue_max;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->changed, NULL);
    for (int i = 0; i < count; i++) {
        pool->worker[i].engine = engine;
        pool->worker[i].pool = pool;
        if (!sb_thread_start(&pool->worker[i].thread, "worker", work, &pool->worker[i])) {
            sb_workers_close(&pool);
            return sb_fail(err, SB_UNAVAILABLE, "cannot start a worker thread");
        }
        pool->worker_count++;
    }
    *out = pool;
    return SB_OK;
}

void sb_workers_close(sb_workers_t **workers)
{
    sb_workers_t *pool = *workers;
    if (!pool)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->worker_count; i++)
        (void)pthread_join(pool->worker[i].thread, NULL);
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->job);
    free(pool);
    *workers = NULL;
}

sb_code_t sb_workers_push(sb_workers_t *pool, sb_request_t *request, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->closing) {
        code = sb_fail(err, SB_STOPPED, "stopping");
    } else if (pool->count == pool->job_max) {
        code = sb_fail(err, SB_BUSY, "%d requests wait already", pool->job_max);
    } else {
        pool->job[(pool->first + pool->count) % pool->job_max] = request;
        pool->count++;
        (void)pthread_cond_signal(&pool->changed);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return code;
}
