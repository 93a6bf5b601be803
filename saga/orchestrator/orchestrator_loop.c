/* The loop. A turn: housekeeping, collect, one transaction a shard, commands sent again, sleep.
 *
 * Whatever goes wrong with the database has one way out: forget the shards' memory, get a connection, take
 * the leases again, fold from what is committed. Nothing is mended in place.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/orchestrator.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/retry.h"
#include "saga/orchestrator/collect.h"
#include "saga/orchestrator/order.h"
#include "saga_sql.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_US                                                                                              \
    1000000 /* free shards and saga_command are looked at this often; saga_command also when told */
#define WATCH_US 500000 /* sagas of other instances that somebody waits for */

static const sb_retry_policy_t reconnect = {
    .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 50, .delay_max_ms = 2000, .jitter = true};

static void publish_stats(sb_orchestrator_t *o)
{
    o->stats.shards = o->shards_held;
    o->stats.open = (int64_t)o->sagas.count;
    (void)pthread_mutex_lock(&o->stats_lock);
    o->published = o->stats;
    (void)pthread_mutex_unlock(&o->stats_lock);
}

static void set_trouble(sb_orchestrator_t *o, const char *text)
{
    (void)snprintf(o->stats.error, sizeof o->stats.error, "%s", text);
}

/* ---- connecting ---- */

static void on_send_failed(void *context, uint64_t tag, const sb_error_t *err)
{
    sb_orchestrator_t *o = context;
    sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, (int64_t)tag);
    sb_log_error(SB_LOG_WARN, "SAGA-SEND", err,
                 "a command did not reach the brokers, it is sent again|saga_no=%lld", (long long)tag);
    if (saga && !saga->stuck)
        sb_resend_add(&o->resend, saga);
}

static sb_code_t read_types(sb_orchestrator_t *o, sb_error_t *err)
{
    for (int kind = 0; kind < SB_SAGA_EV_COUNT; kind++) {
        const char *name = sb_saga_event_type((sb_saga_event_kind_t)kind);
        const sb_event_type_t *type = sb_catalog_type(o->catalog, sb_slice(name), 0);
        if (!type)
            return sb_fail(err, SB_UNAVAILABLE, "event type %s is not registered; run `sagabus schema apply`",
                           name);
        o->type_no[kind] = type->type_no;
    }
    return SB_OK;
}

/* Something registered that this release cannot read (a newer one did it) keeps nothing else away. */
static sb_code_t read_catalog(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = sb_catalog_load(o->catalog, o->pg, &why);
    if (!sb_pg_is_open(o->pg))
        return sb_fail(err, SB_UNAVAILABLE, "%s", why.message);
    if (code != SB_OK)
        sb_log_error(SB_LOG_WARN, "SAGA-CATALOG", &why, "not all that is registered can be read");
    return read_types(o, err);
}

static sb_code_t read_store(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(o->pg, sb_sql_store_shards, NULL, &rows, err);
    if (code == SB_OK) {
        o->shard_count = (int)sb_pg_get_int(rows, 0, 0);
        sb_orchestrator_set_clock(o, sb_pg_get_time(rows, 0, 1), sb_mono_us());
    }
    sb_pg_result_free(rows);
    return code == SB_OK ? read_catalog(o, err) : code;
}

static sb_code_t connect_pg(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = o->pg_uri, .application_name = "sagabus-saga", .generic_plans = true};
    sb_code_t code = o->pg ? sb_pg_reopen(o->pg, err) : sb_pg_open(&o->pg, &config, err);
    if (code == SB_OK) /* a command must not go out before its step is there to stay */
        code = sb_pg_commit_durably(o->pg, err);
    if (code == SB_OK)
        code = sb_pg_script(o->pg,
                            "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = "
                            "off; LISTEN " SB_SAGA_CHANNEL,
                            err);
    o->stats.pg_ok = code == SB_OK;
    o->waiting = false; /* said by the connection that is gone */
    return code == SB_OK ? read_store(o, err) : code;
}

static sb_code_t start_bus(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_code_t code = o->bus_operations->start(o->bus, on_send_failed, o, err);
    o->bus_started = code == SB_OK;
    if (code != SB_OK)
        o->bus_operations->stop(o->bus);
    return code;
}

/* ---- losing shards ---- */

/* Undecided items of a shard that is given up: starts wait for the next one, other callers hear why. */
static void return_items(sb_orchestrator_t *o, sb_shard_t *shard, sb_code_t code, const sb_error_t *err)
{
    for (size_t i = shard->items.count; i-- > 0;) {
        sb_item_t *item = &shard->items.item[i];
        if (item->done || !item->call)
            continue;
        if (item->call->kind == SB_CALL_START && !o->stopping)
            sb_call_put_back(&o->calls, item->call);
        else
            sb_collect_fail(o, item->call,
                            code == SB_UNKNOWN_OUTCOME || code == SB_STOPPED ? code : SB_UNAVAILABLE, err);
        item->call = NULL;
    }
    shard->items.count = 0;
}

static void lose_shard(sb_orchestrator_t *o, sb_shard_t *shard, sb_code_t code, const sb_error_t *err)
{
    return_items(o, shard, code, err);
    sb_shard_drop(o, shard, sb_pg_is_open(o->pg));
}

/* A broken connection takes all leases' locks with it. */
static void lose_connection(sb_orchestrator_t *o, sb_code_t code, const sb_error_t *err)
{
    o->stats.pg_ok = false;
    while (o->shards_held > 0)
        lose_shard(o, o->shard[o->shards_held - 1], code, err);
}

static void tell(const sb_orchestrator_t *o)
{
    if (o->on_told)
        o->on_told(o->told_context);
}

static void on_trouble(sb_orchestrator_t *o, sb_shard_t *shard, sb_code_t code, const sb_error_t *err)
{
    set_trouble(o, err->message);
    sb_log_error(SB_LOG_WARN, code == SB_FENCED ? "SAGA-FENCED" : "SAGA-STEPDOWN", err,
                 "gives up what it knows and begins again from the database|shard=%d",
                 shard ? shard->number : -1);
    if (!sb_pg_is_open(o->pg))
        lose_connection(o, code, err);
    else if (shard)
        lose_shard(o, shard, code, err);
    o->failures++;
    o->retry_us = sb_mono_us() +
                  1000LL * sb_retry_delay_ms(&reconnect, (uint32_t)o->failures, (o->random += 0x9e3779b9));
}

/* ---- shards ---- */

/* The home shard comes first; besides it only shards that were somebody's, because only they hold sagas. */
static bool wants(const sb_orchestrator_t *o, int shard, bool taken_before)
{
    if (sb_shard_find(o, shard) || o->shards_held == SB_SHARDS_HELD_MAX)
        return false;
    if (o->home && sb_mono_us() < o->yield_us)
        return false;
    if (o->home_wanted >= 0 && shard == o->home_wanted)
        return true;
    return taken_before || (o->home_wanted < 0 && !o->home);
}

/* Says to the others that this instance has no shard, or that it has one now. */
static sb_code_t say_waiting(sb_orchestrator_t *o, bool waiting, sb_error_t *err)
{
    if (o->waiting == waiting)
        return SB_OK;
    sb_code_t code = sb_pg_query(o->pg, waiting ? sb_sql_shard_wait : sb_sql_shard_unwait, NULL, NULL, err);
    if (code == SB_OK)
        o->waiting = waiting;
    return code;
}

/* Whoever has several shards gives one to an instance that has none: after a restart the work spreads again.
 */
static sb_code_t share_shards(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    if (o->shards_held < 2)
        return say_waiting(o, o->shards_held == 0, err);
    sb_code_t code = sb_pg_query(o->pg, sb_sql_shard_waiters, NULL, &rows, err);
    if (code == SB_OK && sb_pg_get_int(rows, 0, 0) > 0) {
        sb_shard_t *shard = o->shard[o->shards_held - 1];
        if (shard == o->home)
            shard = o->shard[0];
        sb_log(SB_LOG_INFO, "SAGA-SHARE", "gives a saga shard to an instance that has none|shard=%d",
               shard->number);
        o->yield_us = sb_mono_us() + 3 * TICK_US;
        lose_shard(o, shard, SB_UNAVAILABLE, NULL);
    }
    sb_pg_result_free(rows);
    return code == SB_OK ? say_waiting(o, false, err) : code;
}

static sb_code_t take_shards(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int4(&params, o->shard_count);
    sb_pg_add_int8(&params, o->overdue_ms);
    sb_code_t code = sb_pg_query(o->pg, sb_sql_shard_free, &params, &rows, err);
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++) {
        int shard = (int)sb_pg_get_int(rows, row, 0);
        if (!wants(o, shard, sb_pg_get_bool(rows, row, 1)))
            continue;
        code = sb_shard_take(o, shard, err);
        if (code == SB_BUSY) {
            code = SB_OK;
            sb_error_clear(err);
        }
    }
    sb_pg_result_free(rows);
    return code;
}

/* ---- a turn ---- */

/* Everything a turn needs is there; tries once to get what is missing. */
static bool ready(sb_orchestrator_t *o)
{
    sb_error_t err = SB_ERROR_INIT;
    if (o->pg && sb_pg_is_open(o->pg) && o->shard_count > 0 && o->bus_started && sb_mono_us() >= o->retry_us)
        return true;
    if (sb_mono_us() < o->retry_us)
        return false;
    sb_code_t code = SB_OK;
    if (!o->pg || !sb_pg_is_open(o->pg) || o->shard_count == 0)
        code = connect_pg(o, &err);
    if (code == SB_OK && !o->bus_started)
        code = start_bus(o, &err);
    if (code == SB_OK) {
        o->tick_us = 0;
        return true;
    }
    if (code != SB_OK && o->failures == 0)
        sb_log_error(SB_LOG_WARN, "SAGA-WAITS", &err, "the orchestrator waits");
    set_trouble(o, err.message);
    o->failures++;
    o->retry_us = sb_mono_us() +
                  1000LL * sb_retry_delay_ms(&reconnect, (uint32_t)o->failures, (o->random += 0x9e3779b9));
    return false;
}

static sb_code_t tend_shard(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    sb_shard_mark_slow(shard, sb_orchestrator_now(o));
    return sb_collect_commands(o, shard, err);
}

static sb_code_t housekeeping(sb_orchestrator_t *o, sb_error_t *err)
{
    int64_t mono = sb_mono_us();
    sb_code_t code = SB_OK;
    if (mono >= o->tick_us) {
        o->tick_us = mono + TICK_US;
        code = take_shards(o, err);
        if (code == SB_OK)
            code = share_shards(o, err);
        publish_stats(o); /* a batch may take its time */
        for (int i = 0; i < o->shards_held && code == SB_OK; i++)
            code = tend_shard(o, o->shard[i], err);
    } else {
        bool told = sb_pg_notified(o->pg, false);
        for (int i = 0; i < o->shards_held && code == SB_OK; i++)
            if (told || o->shard[i]->more_commands)
                code = sb_collect_commands(o, o->shard[i], err);
    }
    if (code == SB_OK && !o->home)
        set_trouble(o, "no saga shard is free for this instance");
    else if (code == SB_OK && o->failures == 0)
        o->stats.error[0] = '\0';
    if (mono >= o->watch_us && code == SB_OK) {
        o->watch_us = mono + WATCH_US;
        code = sb_collect_watches(o, err);
    }
    return code;
}

static bool must_beat(const sb_orchestrator_t *o, const sb_shard_t *shard)
{
    return sb_mono_us() - shard->guard_us > o->overdue_ms * 1000 / 3;
}

/* False: a shard was lost, the turn ends here. */
static bool run_shards(sb_orchestrator_t *o)
{
    for (int i = 0; i < o->shards_held; i++) {
        sb_shard_t *shard = o->shard[i];
        sb_error_t err = SB_ERROR_INIT;
        if (shard->items.count == 0 && !must_beat(o, shard))
            continue;
        sb_code_t code = sb_batch_run(o, shard, &err);
        if (code != SB_OK) {
            on_trouble(o, shard, code, &err);
            return false;
        }
        sb_collect_forget_late(o, shard);
        o->failures = 0;
        o->stats.error[0] = '\0';
    }
    return true;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* False: nothing can be done now but wait for the next try to get what is missing. */
static bool is_up(const sb_orchestrator_t *o)
{
    return o->pg && sb_pg_is_open(o->pg) && o->bus_started && o->retry_us <= sb_mono_us();
}

/* How long nothing is due, in microseconds. */
static int64_t idle_us(sb_orchestrator_t *o)
{
    int64_t mono = sb_mono_us();
    int64_t wait = TICK_US;
    if (!is_up(o))
        return sooner(wait, o->retry_us - mono);
    wait = sooner(wait, o->tick_us - mono);
    if (sb_watches_count(o->watches) > 0)
        wait = sooner(wait, o->watch_us - mono);
    if (o->resend.first)
        wait = sooner(wait, 20000);
    int64_t child_us = sb_children_next_us(o);
    if (child_us)
        wait = sooner(wait, child_us - mono);
    const sb_open_saga_t *first = sb_timers_first(&o->timers);
    if (first && mono < o->timers_frozen_us)
        wait = sooner(wait, o->timers_frozen_us - mono);
    else if (first && o->stats.kafka_ok)
        wait = sooner(wait, first->wake_us - sb_orchestrator_now(o));
    for (int i = 0; i < o->shards_held; i++)
        wait = sooner(wait, o->shard[i]->guard_us + o->overdue_ms * 1000 / 3 - mono);
    return wait;
}

/* Something waits on PostgreSQL's socket: that there are verbs in saga_command, or the connection's end. */
static void hear_pg(sb_orchestrator_t *o)
{
    if (sb_pg_notified(o->pg, true))
        o->tick_us = 0;
    if (sb_pg_is_open(o->pg))
        return;
    sb_error_t err = SB_ERROR_INIT;
    on_trouble(o, NULL, sb_fail(&err, SB_UNAVAILABLE, "PostgreSQL: the connection broke"), &err);
}

/* While something is missing nobody takes what the bus has, so its descriptor would only keep us awake. */
static void wait(sb_orchestrator_t *o)
{
    struct pollfd fd[3] = {{.fd = o->wake.fd, .events = POLLIN},
                           {.fd = is_up(o) ? o->bus_operations->wake_fd(o->bus) : -1, .events = POLLIN},
                           {.fd = sb_pg_socket(o->pg), .events = POLLIN}};
    int64_t us = idle_us(o);
    tell(o);
    if (us > 0)
        (void)poll(fd, 3, (int)((us + 999) / 1000));
    if (us > 0 && fd[2].revents)
        hear_pg(o);
    sb_signal_clear(&o->wake);
}

static bool something_waits(const sb_orchestrator_t *o)
{
    for (int i = 0; i < o->shards_held; i++)
        if (o->shard[i]->items.count > 0)
            return true;
    return false;
}

static void turn(sb_orchestrator_t *o)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_orchestrator_follow_clock(o);
    if (!something_waits(o)) /* what a turn that was cut short left behind still points into it */
        sb_arena_reset(&o->turn);
    sb_code_t code = housekeeping(o, &err);
    if (code == SB_OK)
        code = sb_children_tend(o, &err);
    if (code != SB_OK) {
        on_trouble(o, NULL, code, &err);
        return;
    }
    sb_collect_calls(o);
    sb_shard_t *shard = NULL;
    code = sb_collect_replies(o, &shard, &err);
    if (code != SB_OK) {
        on_trouble(o, shard, code, &err);
        return;
    }
    sb_collect_timers(o);
    bool busy = something_waits(o);
    bool whole = run_shards(o);
    tell(o);
    if (!whole)
        return;
    sb_order_resend_some(o);
    o->bus_operations->serve(o->bus);
    publish_stats(o);
    if (!busy) {
        sb_collect_expire(o);
        wait(o);
    }
}

/* ---- the story ---- */

static void finish(sb_orchestrator_t *o)
{
    sb_error_t err = SB_ERROR_INIT;
    (void)sb_fail(&err, SB_STOPPED, "the orchestrator was stopped");
    sb_call_queue_close(&o->calls);
    for (sb_call_t *call; (call = sb_call_take(&o->calls));)
        sb_collect_fail(o, call, call->tried_count > 0 ? SB_UNKNOWN_OUTCOME : SB_STOPPED, &err);
    sb_watches_fire_all(o->watches, SB_STOPPED, &err);
    tell(o); /* what comes next takes its time */
    if (o->bus_started && o->bus_operations->flush(o->bus, 2000, NULL) != SB_OK)
        sb_log(SB_LOG_INFO, "SAGA-STOP",
               "commands are left behind, whoever takes the shard sends them again");
    while (o->shards_held > 0)
        lose_shard(o, o->shard[o->shards_held - 1], SB_STOPPED, &err);
    if (o->bus_started)
        o->bus_operations->stop(o->bus);
    o->bus_started = false;
    sb_pg_close(&o->pg);
    publish_stats(o);
    tell(o);
}

void sb_orchestrator_run(sb_orchestrator_t *o)
{
    while (!o->stopping) {
        if (ready(o)) {
            turn(o);
        } else {
            sb_collect_expire(o);
            publish_stats(o);
            wait(o);
        }
    }
    finish(o);
}
