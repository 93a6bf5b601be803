/* SPDX-License-Identifier: Apache-2.0 */
#include "server/engine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "server/tail.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

sb_code_t sb_engine_init(sb_engine_t *engine, const sb_config_t *config, sb_error_t *err)
{
    char host[48] = "";
    char id[SB_UUID_TEXT];
    sb_uuid_t random = sb_uuid_v7();
    memset(engine, 0, sizeof *engine);
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(engine->owner, sizeof engine->owner, "%s:%d:%s", host, (int)getpid(),
                   sb_uuid_format(&random, id) + 28);
    engine->config = config;
    engine->pg_uri = sb_config_get(config, "pg.uri");
    engine->started_us = sb_wall_us();
    atomic_init(&engine->running, false);
    atomic_init(&engine->draining, false);
    sb_progress_init(&engine->progress);
    (void)pthread_mutex_init(&engine->lock, NULL);
    sb_code_t code = sb_catalog_new(&engine->catalog, err);
    return code == SB_OK ? sb_keys_new(&engine->keys, err) : code;
}

static void close_parts(sb_engine_t *engine)
{
    sb_orchestrator_close(&engine->orchestrator);
    sb_push_close(&engine->push);
    sb_projector_close(&engine->projector);
    sb_relay_close(&engine->relay);
    sb_sequencer_close(&engine->sequencer);
}

void sb_engine_fini(sb_engine_t *engine)
{
    close_parts(engine);
    sb_keys_free(&engine->keys);
    sb_catalog_free(&engine->catalog);
    sb_progress_fini(&engine->progress);
    (void)pthread_mutex_destroy(&engine->lock);
}

/* ---- parts and threads ---- */

static sb_code_t setting(const sb_config_t *config, const char *name, uint32_t *out, sb_error_t *err)
{
    int64_t value = 0;
    sb_code_t code = sb_config_get_int(config, name, 0, 86400000, &value, err);
    *out = (uint32_t)value;
    return code;
}

sb_code_t sb_engine_open_appender(sb_engine_t *engine, sb_error_t *err)
{
    sb_appender_config_t c = {
        .pg_uri = engine->pg_uri, .application_name = "sagabus append", .resolve_ms = 10000};
    int64_t connections = 0, queue = 0, record_max = 0;
    const char *text = sb_config_get(engine->config, "kafka.message.max.bytes");
    sb_code_t code = sb_config_get_int(engine->config, "http.appenders", 1, 64, &connections, err);
    if (code == SB_OK)
        code = sb_config_get_int(engine->config, "http.queue_max", 1, 100000, &queue, err);
    if (code == SB_OK && text && text[0])
        code = sb_config_get_int(engine->config, "kafka.message.max.bytes", SB_RECORD_HEAD + 1024, INT32_MAX,
                                 &record_max, err);
    if (code != SB_OK)
        return code;
    c.connections = (int)connections;
    c.queue_max = (size_t)queue;
    if (record_max > 0 && record_max < SB_EVENT_BYTES_MAX + SB_RECORD_HEAD) /* the relay could not send it */
        engine->event_bytes_max = (size_t)(record_max - SB_RECORD_HEAD);
    c.event_bytes_max = engine->event_bytes_max;
    return sb_appender_new(&engine->appender, &c, engine->catalog, err);
}

static sb_code_t open_sequencer(sb_engine_t *engine, sb_error_t *err)
{
    sb_sequencer_config_t c = {
        .pg_uri = engine->pg_uri, .owner = engine->owner, .progress = &engine->progress};
    sb_code_t code = setting(engine->config, "sequencer.tick_ms", &c.tick_ms, err);
    if (code == SB_OK)
        code = setting(engine->config, "sequencer.idle_ms", &c.idle_ms, err);
    if (code == SB_OK)
        code = setting(engine->config, "lease.overdue_ms", &c.overdue_ms, err);
    if (code == SB_OK)
        code = sb_config_get_int(engine->config, "store.retention_command_ms", 60000, INT64_C(316224000000),
                                 &c.commands_kept_ms, err);
    if (code == SB_OK)
        code = sb_config_get_int(engine->config, "store.seal_ms", 0, 86400000, &c.seal_ms, err);
    if (c.seal_ms == 0)
        c.seal_ms = -1;
    return code == SB_OK ? sb_sequencer_open(&engine->sequencer, &c, err) : code;
}

static sb_code_t open_projector(sb_engine_t *engine, sb_error_t *err)
{
    sb_projector_config_t c = {.pg_uri = engine->pg_uri,
                               .owner = engine->owner,
                               .catalog = engine->catalog,
                               .progress = &engine->progress};
    sb_code_t code = setting(engine->config, "views.batch", &c.batch_events, err);
    if (code == SB_OK)
        code = setting(engine->config, "lease.overdue_ms", &c.overdue_ms, err);
    return code == SB_OK ? sb_projector_open(&engine->projector, &c, err) : code;
}

static sb_code_t open_push(sb_engine_t *engine, sb_error_t *err)
{
    sb_push_config_t c = {.config = engine->config,
                          .pg_uri = engine->pg_uri,
                          .owner = engine->owner,
                          .catalog = engine->catalog,
                          .progress = &engine->progress};
    return sb_push_open(&engine->push, &c, err);
}

static void wake_loop(void *context)
{
    const sb_engine_t *engine = context;
    if (engine->http)
        sb_http_wake(engine->http);
}

static sb_code_t open_parts(sb_engine_t *engine, sb_error_t *err)
{
    sb_relay_config_t relay = {.config = engine->config,
                               .pg_uri = engine->pg_uri,
                               .owner = engine->owner,
                               .catalog = engine->catalog,
                               .progress = &engine->progress};
    sb_orchestrator_config_t orchestrator = {.config = engine->config,
                                             .pg_uri = engine->pg_uri,
                                             .owner = engine->owner,
                                             .catalog = engine->catalog,
                                             .progress = &engine->progress,
                                             .on_told = wake_loop,
                                             .told_context = engine};
    if (engine->tail)
        sb_progress_listen(&engine->progress, sb_tail_signal(engine->tail));
    sb_code_t code = open_sequencer(engine, err);
    if (code == SB_OK)
        code = sb_relay_open(&engine->relay, &relay, err);
    if (code == SB_OK)
        code = open_projector(engine, err);
    if (code == SB_OK)
        code = open_push(engine, err);
    return code == SB_OK ? sb_orchestrator_open(&engine->orchestrator, &orchestrator, err) : code;
}

static void *run_sequencer(void *context)
{
    sb_sequencer_run(((sb_engine_t *)context)->sequencer);
    return NULL;
}

static void *run_relay(void *context)
{
    sb_relay_run(((sb_engine_t *)context)->relay);
    return NULL;
}

static void *run_projector(void *context)
{
    sb_projector_run(((sb_engine_t *)context)->projector);
    return NULL;
}

static void *run_push(void *context)
{
    sb_push_run(((sb_engine_t *)context)->push);
    return NULL;
}

static void *run_orchestrator(void *context)
{
    sb_orchestrator_run(((sb_engine_t *)context)->orchestrator);
    return NULL;
}

#define PARTS 5

sb_code_t sb_engine_start(sb_engine_t *engine, sb_error_t *err)
{
    static const struct {
        const char *name;
        void *(*run)(void *);
    } part[PARTS] = {{"sequencer", run_sequencer},
                     {"relay", run_relay},
                     {"projector", run_projector},
                     {"push", run_push},
                     {"orchestrator", run_orchestrator}};
    sb_code_t code = open_parts(engine, err);
    for (int i = 0; i < PARTS && code == SB_OK; i++) {
        if (!sb_thread_start(&engine->thread[i], part[i].name, part[i].run, engine))
            code = sb_fail(err, SB_UNAVAILABLE, "cannot start a thread");
        else
            engine->thread_count++;
    }
    if (code != SB_OK) {
        sb_engine_stop(engine);
        close_parts(engine);
        engine->progress.listener_count = 0; /* the next start's parts listen anew */
        return code;
    }
    atomic_store(&engine->running, true);
    return SB_OK;
}

void sb_engine_stop(sb_engine_t *engine)
{
    atomic_store(&engine->running, false);
    for (int i = engine->thread_count - 1; i >= 0; i--) {
        switch (i) {
        case 4:
            sb_orchestrator_stop(engine->orchestrator);
            break;
        case 3:
            sb_push_stop(engine->push);
            break;
        case 2:
            sb_projector_stop(engine->projector);
            break;
        case 1:
            sb_relay_stop(engine->relay);
            break;
        default:
            sb_sequencer_stop(engine->sequencer);
        }
        (void)pthread_join(engine->thread[i], NULL);
    }
    engine->thread_count = 0;
}

/* ---- readiness ---- */

static sb_check_t *find_check(sb_engine_t *engine, const char *name)
{
    for (int i = 0; i < engine->check_count; i++)
        if (strcmp(engine->check[i].name, name) == 0)
            return &engine->check[i];
    if (engine->check_count == SB_CHECKS_MAX)
        return NULL;
    sb_check_t *check = &engine->check[engine->check_count++];
    *check = (sb_check_t){.name = name, .ok = true};
    return check;
}

static void store_check(sb_check_t *check, const char *why)
{
    check->ok = why == NULL;
    (void)snprintf(check->why, sizeof check->why, "%s", why ? why : "");
}

void sb_engine_set_check(sb_engine_t *engine, const char *name, const char *why)
{
    (void)pthread_mutex_lock(&engine->lock);
    sb_check_t *check = find_check(engine, name);
    if (check && check->ok != (why == NULL))
        sb_log(why ? SB_LOG_WARN : SB_LOG_INFO, "READY-CHECK", "%s: %s", name, why ? why : "ok");
    if (check)
        store_check(check, why);
    (void)pthread_mutex_unlock(&engine->lock);
}

void sb_engine_expect_check(sb_engine_t *engine, const char *name)
{
    (void)pthread_mutex_lock(&engine->lock);
    sb_check_t *check = find_check(engine, name);
    if (check)
        store_check(check, "not looked at yet");
    (void)pthread_mutex_unlock(&engine->lock);
}

bool sb_engine_is_ready(sb_engine_t *engine, sb_check_t out[SB_CHECKS_MAX], int *count)
{
    bool ready = atomic_load(&engine->running) && !atomic_load(&engine->draining);
    (void)pthread_mutex_lock(&engine->lock);
    *count = engine->check_count;
    memcpy(out, engine->check, sizeof engine->check);
    (void)pthread_mutex_unlock(&engine->lock);
    for (int i = 0; i < *count; i++)
        ready = ready && out[i].ok;
    return ready;
}
