/* One thread, one connection, all subscriptions: each is a slot that is not owned, or owned and open, or
 * owned and waiting to be opened after a failure. Requests are the HTTP client's; it lands them in a list
 * here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "bus/push/push_internal.h"
#include "bus_sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PURGE_EVERY_US INT64_C(60000000)
#define TELL_EVERY_US  INT64_C(600000000)
#define ANSWER_BYTES   (256u << 10) /* of a body; nobody reads it */

static const sb_retry_policy_t patience = {SB_RETRY_EXPONENTIAL, 0, 200, 10000, true};

static bool is_stopping(sb_push_t *push)
{
    return atomic_load(&push->stopping);
}

/* ---- life ---- */

sb_code_t sb_push_open(sb_push_t **out, const sb_push_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_push_t *push = calloc(1, sizeof *push);
    if (!push)
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    push->config = *config;
    sb_push_config_t *c = &push->config;
    c->idle_ms = c->idle_ms ? c->idle_ms : 200;
    c->refresh_ms = c->refresh_ms ? c->refresh_ms : 1000;
    c->drain_ms = c->drain_ms ? c->drain_ms : 3000;
    atomic_init(&push->stopping, false);
    (void)pthread_mutex_init(&push->lock, NULL);
    push->wake.fd = -1;
    sb_code_t code =
        sb_config_get_int(config->config, "lease.overdue_ms", 1000, 3600000, &push->overdue_ms, err);
    if (code == SB_OK)
        code = sb_signal_init(&push->wake, err);
    if (code != SB_OK) {
        sb_push_close(&push);
        return code;
    }
    if (c->progress)
        sb_progress_listen(c->progress, &push->wake);
    *out = push;
    return SB_OK;
}

static sb_push_flight_t *take_landed(sb_push_t *push)
{
    (void)pthread_mutex_lock(&push->lock);
    sb_push_flight_t *list = push->landed;
    push->landed = NULL;
    (void)pthread_mutex_unlock(&push->lock);
    return list;
}

static void free_flights(sb_push_flight_t *list)
{
    while (list) {
        sb_push_flight_t *next = list->next;
        free(list);
        list = next;
    }
}

void sb_push_close(sb_push_t **push)
{
    sb_push_t *p = *push;
    if (!p)
        return;
    sb_http_multi_stop(&p->http); /* everything has landed */
    free_flights(take_landed(p));
    for (int i = 0; i < p->slot_count; i++) {
        sb_push_slot_close(p->slot[i]);
        sb_lease_fini(&p->slot[i]->lease);
        free(p->slot[i]);
    }
    sb_push_request_fini(&p->request);
    sb_store_close(&p->store);
    sb_pg_close(&p->pg);
    sb_signal_fini(&p->wake);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    *push = NULL;
}

void sb_push_stop(sb_push_t *push)
{
    atomic_store(&push->stopping, true);
    sb_signal_raise(&push->wake);
}

/* ---- what others see ---- */

static void add_slot_stats(const sb_push_t *push, const sb_push_slot_t *slot, sb_push_stats_t *stats)
{
    if (slot->lease.epoch == 0)
        return;
    int64_t lag = push->safe_seq - slot->lease.cursor;
    stats->owned++;
    stats->paused += slot->paused;
    stats->stuck += !slot->paused && (!slot->open || slot->problem[0]);
    stats->in_flight += slot->aloft;
    stats->breakers_open += slot->open && slot->breaker.state != SB_BREAKER_CLOSED;
    stats->lag_events = lag > stats->lag_events ? lag : stats->lag_events;
}

static void publish_stats(sb_push_t *push)
{
    sb_push_stats_t stats = {.subscriptions = push->registered,
                             .delivered = push->delivered,
                             .failures = push->failures,
                             .dead_letters = push->dead_letters,
                             .redriven = push->redriven};
    for (int i = 0; i < push->slot_count; i++)
        add_slot_stats(push, push->slot[i], &stats);
    (void)pthread_mutex_lock(&push->lock);
    push->stats = stats;
    (void)pthread_mutex_unlock(&push->lock);
}

void sb_push_stats(const sb_push_t *push, sb_push_stats_t *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&push->lock;
    (void)pthread_mutex_lock(lock);
    *out = push->stats;
    (void)pthread_mutex_unlock(lock);
}

/* ---- landings ---- */

/* ---- registry and leases ---- */

static sb_push_slot_t *slot_named(sb_push_t *push, sb_slice_t name)
{
    for (int i = 0; i < push->slot_count; i++)
        if (sb_slice_is(name, push->slot[i]->name))
            return push->slot[i];
    return NULL;
}

static sb_code_t add_slot(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    sb_push_t *push = context;
    char role[SB_LEASE_ROLE_MAX];
    sb_push_slot_t *known = slot_named(push, sb_slice(artifact->name));
    if (known) { /* they come in order of their versions */
        known->outdated = known->open && artifact->version > known->definition->version;
        return SB_OK;
    }
    if (push->slot_count == SB_PUSH_SLOTS_MAX) {
        if (sb_mono_us() >= push->tell_us)
            sb_log(SB_LOG_WARN, "PUSH-TOO-MANY",
                   "more push subscriptions than are taken|subscription=%s most=%d", artifact->name,
                   SB_PUSH_SLOTS_MAX);
        push->too_many = true;
        return SB_OK;
    }
    sb_push_slot_t *slot = calloc(1, sizeof *slot);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    (void)snprintf(slot->name, sizeof slot->name, "%s", artifact->name);
    (void)snprintf(role, sizeof role, "push:%s", slot->name);
    sb_lease_init(&slot->lease, role);
    push->slot[push->slot_count++] = slot;
    push->registered = push->slot_count;
    return SB_OK;
}

static void step_down(sb_push_t *push, sb_push_slot_t *slot)
{
    sb_push_slot_close(slot);
    if (push->pg)
        sb_lease_release(&slot->lease, push->pg);
}

/* What to do after an error in a slot. Not SB_OK: the connection is of no more use. */
static sb_code_t recover(sb_push_t *push, sb_push_slot_t *slot, sb_code_t code, const sb_error_t *cause)
{
    sb_push_slot_close(slot);
    if (!sb_pg_is_open(push->pg) || code == SB_UNKNOWN_OUTCOME)
        return code;
    sb_pg_rollback(push->pg);
    if (code == SB_FENCED) {
        sb_log(SB_LOG_INFO, "PUSH-FENCED", "another took it over, or an operator moved it|subscription=%s",
               slot->name);
        step_down(push, slot);
        push->refresh_us = 0;
        return SB_OK;
    }
    uint32_t pause = sb_retry_delay_ms(&patience, ++slot->troubles, sb_push_random());
    slot->try_us = sb_mono_us() + (int64_t)pause * 1000;
    sb_push_slot_say(slot, cause->message);
    sb_error_t ignored = SB_ERROR_INIT;
    sb_code_t noted =
        slot->lease.epoch == 0 ? SB_OK : sb_push_save(push, slot, slot->lease.cursor, 0, false, &ignored);
    if (noted == SB_FENCED)
        step_down(push, slot);
    return sb_pg_is_open(push->pg) ? SB_OK : noted;
}

/* Its thread runs where there is something to send only. */
static sb_code_t start_client(sb_push_t *push, sb_error_t *err)
{
    sb_http_multi_config_t config = {.ca_file = sb_config_get(push->config.config, "endpoints.ca_file"),
                                     .host_connections_max = SB_PUSH_AT_ONCE_MAX,
                                     .connections_max = SB_PUSH_AT_ONCE_MAX * 4,
                                     .answer_bytes_max = ANSWER_BYTES};
    return push->http ? SB_OK : sb_http_multi_start(&push->http, &config, err);
}

/* One that could not be opened is tried by another instance, too: its settings may be better. */
static sb_code_t ready_slot(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (slot->lease.epoch == 0)
        code = sb_lease_acquire(&slot->lease, push->pg, push->config.owner, push->overdue_ms, err);
    if (code == SB_BUSY)
        return SB_OK;
    if (code == SB_OK)
        code = start_client(push, err);
    if (code == SB_OK)
        code = sb_push_slot_open(push, slot, err);
    if (code == SB_OK)
        slot->troubles = 0;
    return code == SB_OK ? code : recover(push, slot, code, err);
}

static sb_code_t look(sb_push_t *push, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(push->pg, sb_sql_push_look, NULL, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        sb_push_slot_t *slot = slot_named(push, sb_pg_get_slice(rows, i, 0));
        if (!slot)
            continue;
        slot->lost = slot->lease.epoch > 0 && slot->lease.epoch != sb_pg_get_int(rows, i, 4);
        slot->paused = sb_pg_get_bool(rows, i, 1);
        slot->any_due = sb_pg_get_bool(rows, i, 2);
        slot->any_held = sb_pg_get_bool(rows, i, 3);
    }
    sb_pg_result_free(rows);
    return code;
}

/* Dead letters that have ended are kept a while. */
static sb_code_t purge(sb_push_t *push, sb_error_t *err)
{
    if (sb_mono_us() < push->purge_us)
        return SB_OK;
    push->purge_us = sb_mono_us() + PURGE_EVERY_US;
    return sb_pg_query(push->pg, sb_sql_sub_dead_purge, NULL, NULL, err);
}

static sb_code_t refresh(sb_push_t *push, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    push->refresh_us = now + (int64_t)push->config.refresh_ms * 1000;
    sb_code_t code = sb_catalog_load(push->config.catalog, push->pg, err);
    push->too_many = false;
    if (code == SB_OK)
        code = sb_catalog_each(push->config.catalog, SB_ARTIFACT_SUBSCRIPTION, add_slot, push, err);
    if (push->too_many && now >= push->tell_us)
        push->tell_us = sb_mono_us() + TELL_EVERY_US;
    if (code == SB_OK && push->slot_count > 0)
        code = look(push, err);
    if (code == SB_OK && push->slot_count > 0)
        code = purge(push, err);
    for (int i = 0; i < push->slot_count && code == SB_OK && !is_stopping(push); i++) {
        sb_error_t cause = SB_ERROR_INIT;
        sb_push_slot_t *slot = push->slot[i];
        if (slot->lost)
            code = recover(push, slot, SB_FENCED, &cause);
        slot->lost = false;
        if (code == SB_OK && !slot->open && slot->aloft == 0 && slot->try_us <= now)
            code = ready_slot(push, slot, &cause);
        if (code != SB_OK && err)
            *err = cause;
    }
    return code;
}

/* ---- moving ---- */

static sb_code_t land_all(sb_push_t *push, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    sb_push_flight_t *list = take_landed(push);
    while (list) {
        sb_error_t cause = SB_ERROR_INIT;
        sb_push_flight_t *flight = list;
        sb_push_slot_t *slot = flight->slot;
        list = flight->next;
        slot->aloft--;
        if (slot->aloft == 0 && !slot->open)
            push->refresh_us = 0;
        if (code == SB_OK && slot->open && slot->serial == flight->serial) {
            code = sb_push_slot_landed(push, slot, flight, &cause);
            if (code != SB_OK)
                code = recover(push, slot, code, &cause);
            if (code != SB_OK)
                *err = cause;
        }
        free(flight);
    }
    return code;
}

static sb_code_t keep(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    if (sb_mono_us() - slot->saved_us < push->overdue_ms * 250)
        return SB_OK;
    return sb_push_save(push, slot, slot->lease.cursor, 0, false, err);
}

static sb_code_t move_all(sb_push_t *push, int64_t *due_us, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < push->slot_count && code == SB_OK; i++) {
        sb_error_t cause = SB_ERROR_INIT;
        sb_push_slot_t *slot = push->slot[i];
        if (slot->lease.epoch == 0)
            continue;
        /* One that stands still beats too: for an overdue one another instance ends our whole connection. */
        code = slot->open ? sb_push_slot_move(push, slot, due_us, &cause) : keep(push, slot, &cause);
        if (code != SB_OK)
            code = recover(push, slot, code, &cause);
        if (code != SB_OK)
            *err = cause;
    }
    return code;
}

static int64_t published_seq(const sb_push_t *push)
{
    return push->config.progress ? atomic_load(&push->config.progress->safe_seq) : 0;
}

static sb_code_t ask_safe(sb_push_t *push, sb_error_t *err)
{
    int64_t seq = 0;
    sb_code_t code = sb_store_safe_seq(push->store, &seq, err);
    if (code == SB_OK && seq > push->safe_seq)
        push->safe_seq = seq;
    return code;
}

/* Waits for news of the sequencer of this process, for an answer, for what is due; on time-out, for the
 * sequencer of another. Without a subscription there is nothing to wait for but one. */
static sb_code_t wait_for_more(sb_push_t *push, int64_t due_us, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    int64_t idle_us = push->slot_count > 0 ? (int64_t)push->config.idle_ms * 1000 : push->refresh_us - now;
    int64_t wait_us = due_us - now < idle_us ? due_us - now : idle_us;
    bool idle = wait_us == idle_us;
    if (push->refresh_us - now < wait_us)
        wait_us = push->refresh_us - now;
    if (wait_us > 0 && sb_signal_wait(&push->wake, (wait_us + 999) / 1000))
        return SB_OK;
    return idle && push->slot_count > 0 && !is_stopping(push) ? ask_safe(push, err) : SB_OK;
}

static sb_code_t run_connected(sb_push_t *push, sb_error_t *err)
{
    sb_code_t code = sb_store_new(&push->store, push->pg, push->config.catalog, err);
    if (code == SB_OK)
        code = ask_safe(push, err);
    push->refresh_us = 0;
    while (code == SB_OK && !is_stopping(push)) {
        int64_t due_us = INT64_MAX;
        if (sb_mono_us() >= push->refresh_us)
            code = refresh(push, err);
        if (published_seq(push) > push->safe_seq)
            push->safe_seq = published_seq(push);
        if (code == SB_OK)
            code = land_all(push, err);
        if (code == SB_OK)
            code = move_all(push, &due_us, err);
        publish_stats(push);
        if (code == SB_OK)
            code = wait_for_more(push, due_us, err);
    }
    return code;
}

/* ---- the connection ---- */

static int in_flight(const sb_push_t *push)
{
    int aloft = 0;
    for (int i = 0; i < push->slot_count; i++)
        aloft += push->slot[i]->aloft;
    return aloft;
}

/* An orderly end: what is under way is answered, and the successor begins right after it. */
static void drain(sb_push_t *push)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t until = sb_mono_us() + (int64_t)push->config.drain_ms * 1000;
    sb_code_t code = SB_OK;
    while (code == SB_OK && in_flight(push) > 0 && sb_mono_us() < until) {
        (void)sb_signal_wait(&push->wake, 50);
        code = land_all(push, &err);
    }
    for (int i = 0; i < push->slot_count && code == SB_OK; i++)
        if (push->slot[i]->open)
            code = sb_push_slot_settle(push, push->slot[i], true, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_WARN, "PUSH-SAVE", &err, "a position was not saved, the successor sends again");
}

static void let_go(sb_push_t *push)
{
    for (int i = 0; i < push->slot_count; i++)
        step_down(push, push->slot[i]);
    sb_store_close(&push->store);
    publish_stats(push);
}

static sb_code_t connect_now(sb_push_t *push, sb_error_t *err)
{
    sb_pg_config_t config = {
        .uri = push->config.pg_uri, .application_name = "sagabus push", .search_path = "sagabus"};
    return push->pg ? sb_pg_reopen(push->pg, err) : sb_pg_open(&push->pg, &config, err);
}

static void rest(sb_push_t *push, uint32_t ms)
{
    int64_t until = sb_mono_us() + (int64_t)ms * 1000;
    for (int64_t left = ms; left > 0 && !is_stopping(push); left = (until - sb_mono_us()) / 1000)
        (void)sb_signal_wait(&push->wake, left);
}

void sb_push_run(sb_push_t *push)
{
    uint32_t failures = 0;
    while (!is_stopping(push)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = connect_now(push, &err);
        bool connected = code == SB_OK;
        if (connected)
            code = run_connected(push, &err);
        if (code == SB_OK)
            drain(push);
        let_go(push);
        if (code == SB_OK)
            continue;
        failures = connected ? 1 : failures + 1;
        uint32_t pause = sb_retry_delay_ms(&patience, failures, sb_push_random());
        sb_log_error(SB_LOG_WARN, "PUSH-RECONNECT", &err, "push starts over in %u ms", pause);
        rest(push, pause);
    }
    sb_pg_close(&push->pg);
}
