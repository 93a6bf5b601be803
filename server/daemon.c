/* SPDX-License-Identifier: Apache-2.0 */
#include "server/daemon.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "events/store/appender.h"
#include "server/body.h"
#include "server/engine.h"
#include "server/monitor.h"
#include "server/problem.h"
#include "server/tail.h"
#include "server/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define DRAIN_MS 300 /* answers on their way when the parts have stopped */

typedef struct daemon_state {
    sb_engine_t engine;
    sb_monitor_t monitor;
    pthread_t http_thread;
    pthread_t monitor_thread;
    int signals;
} daemon_state_t;

/* ---- dispatch, on the HTTP loop ---- */

static void refuse(sb_request_t *request, int status, const char *code, const char *title,
                   const sb_error_t *err)
{
    sb_problem_status(request, status, code, title, err);
    sb_http_done(request);
}

/* Keys are asked for as soon as there is one, and always beyond loopback. */
static bool admit(sb_engine_t *engine, sb_request_t *request)
{
    sb_error_t err = SB_ERROR_INIT;
    bool open = sb_http_is_loopback(engine->http) && sb_keys_count(engine->keys) == 0;
    bool insecure = false;
    if (sb_config_get_bool(engine->config, "http.insecure_listen", &insecure, NULL) != SB_OK)
        insecure = false;
    if (request->route->scope == SB_SCOPE_NONE || open || (insecure && sb_keys_count(engine->keys) == 0))
        return true;
    if (sb_keys_check(engine->keys, sb_slice(request->authorization), request->route->scope, request->caller,
                      &err) == SB_OK)
        return true;
    if (request->caller[0])
        refuse(request, 403, "denied", "not allowed", &err);
    else
        refuse(request, 401, "unauthenticated", "a key is needed", &err);
    return false;
}

static void on_request(void *context, sb_request_t *request)
{
    sb_engine_t *engine = context;
    sb_error_t err = SB_ERROR_INIT;
    if (!sb_route_find(request)) {
        bool known = request->allow[0] != '\0';
        (void)sb_fail(&err, SB_NOT_FOUND,
                      known ? "%s is not for %s; there are: %s" : "there is nothing at %s", request->path,
                      request->method, request->allow);
        if (known)
            refuse(request, 405, "method_not_allowed", "that method is not for this path", &err);
        else
            refuse(request, 404, "not_found", "not found", &err);
        return;
    }
    if (!admit(engine, request))
        return;
    if (strcmp(request->method, "POST") == 0 && !sb_body_type_ok(request)) {
        (void)sb_fail(&err, SB_INVALID, "Content-Type is '%s'; application/json is wanted",
                      request->content_type);
        refuse(request, 415, "unsupported_media_type", "not a kind of content we read", &err);
        return;
    }
    if (strncmp(request->path, "/v1/", 4) == 0 && !atomic_load(&engine->running)) {
        (void)sb_fail(&err, SB_UNAVAILABLE,
                      atomic_load(&engine->draining) ? "stopping" : "starting; /readyz says what is missing");
        sb_problem(request, &err);
        sb_http_done(request);
        return;
    }
    if (request->route->on_loop) {
        request->status = request->route->status;
        request->route->on_loop(engine, request);
    } else if (sb_workers_push(engine->workers, request, &err) != SB_OK) {
        sb_problem(request, &err);
        sb_http_done(request);
    }
}

/* ---- threads ---- */

static void *run_http(void *context)
{
    sb_http_run(context);
    return NULL;
}

static void *run_monitor(void *context)
{
    sb_monitor_run(context);
    return NULL;
}

static void end_daemon(void *context)
{
    (void)context;
    (void)kill(getpid(), SIGTERM);
}

static sb_code_t block_signals(daemon_state_t *d, sb_error_t *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    d->signals = signalfd(-1, &set, SFD_CLOEXEC);
    return d->signals >= 0 ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "signalfd: %s", strerror(errno));
}

static void unblock_signals(daemon_state_t *d)
{
    sigset_t set;
    (void)close(d->signals);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* a second signal ends at once */
}

static void wait_for_signal(daemon_state_t *d)
{
    struct signalfd_siginfo info;
    while (read(d->signals, &info, sizeof info) < 0 && errno == EINTR) {
    }
}

static sb_code_t start(daemon_state_t *d, sb_error_t *err)
{
    int64_t workers = 0, queue = 0;
    sb_code_t code = sb_config_get_int(d->engine.config, "http.workers", 1, 64, &workers, err);
    if (code == SB_OK)
        code = sb_config_get_int(d->engine.config, "http.queue_max", 1, 100000, &queue, err);
    if (code == SB_OK)
        code = sb_http_open(&d->engine.http, d->engine.config, on_request, &d->engine, err);
    if (code == SB_OK)
        code = sb_workers_open(&d->engine.workers, &d->engine, (int)workers, (int)queue, err);
    if (code == SB_OK)
        code = sb_engine_open_appender(&d->engine, err);
    if (code == SB_OK)
        code = sb_tail_open(&d->engine.tail, &d->engine, (int)workers, err);
    if (code != SB_OK)
        return code;
    if (!sb_thread_start(&d->http_thread, "http", run_http, d->engine.http))
        return sb_fail(err, SB_UNAVAILABLE, "cannot start the HTTP thread");
    if (!sb_thread_start(&d->monitor_thread, "monitor", run_monitor, &d->monitor)) {
        sb_http_stop(d->engine.http);
        (void)pthread_join(d->http_thread, NULL);
        return sb_fail(err, SB_UNAVAILABLE, "cannot start the monitor's thread");
    }
    sb_log(SB_LOG_INFO, "SERVE-LISTENING", "listening|address=%s instance=%s",
           sb_http_address(d->engine.http), d->engine.owner);
    return SB_OK;
}

/* The reverse of opening; the HTTP loop runs on until everyone in hand has an answer. */
static void stop(daemon_state_t *d)
{
    atomic_store(&d->engine.draining, true);
    sb_log(SB_LOG_INFO, "SERVE-STOPPING", "stopping");
    sb_tail_stop(d->engine.tail);
    sb_monitor_stop(&d->monitor);
    (void)pthread_join(d->monitor_thread, NULL);
    sb_engine_stop(&d->engine);
    sb_appender_stop(d->engine.appender); /* while there is a loop to send its answers */
    sb_workers_close(&d->engine.workers);
    int64_t until = sb_mono_us() + DRAIN_MS * 1000;
    sb_http_stats_t stats;
    do {
        sb_sleep_ms(10);
        sb_http_stats(d->engine.http, &stats);
    } while (stats.in_hand > 0 && sb_mono_us() < until);
    sb_http_stop(d->engine.http);
    (void)pthread_join(d->http_thread, NULL);
}

sb_code_t sb_daemon_run(const sb_config_t *config, sb_error_t *err)
{
    daemon_state_t *d = calloc(1, sizeof *d);
    if (!d)
        return sb_fail(err, SB_NO_MEMORY, "serve: out of memory");
    struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core); /* a core would hold secrets */
    d->signals = -1;
    d->monitor.signal.fd = -1;
    sb_code_t code = sb_engine_init(&d->engine, config, err);
    if (code == SB_OK)
        code = sb_monitor_init(&d->monitor, &d->engine, err);
    if (code == SB_OK)
        code = block_signals(d, err);
    if (code == SB_OK) {
        d->monitor.on_fatal = end_daemon;
        code = start(d, err);
    }
    if (code == SB_OK) {
        wait_for_signal(d);
        unblock_signals(d);
        stop(d);
        code = d->monitor.code;
        if (code != SB_OK && err)
            *err = d->monitor.err;
    }
    sb_tail_stop(d->engine.tail);
    sb_workers_close(&d->engine.workers);
    sb_appender_close(&d->engine.appender);
    sb_tail_close(&d->engine.tail);
    sb_http_close(&d->engine.http);
    sb_monitor_fini(&d->monitor);
    sb_engine_fini(&d->engine);
    free(d);
    return code;
}
