/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/shard.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "saga/orchestrator/recover.h"

#include <stdio.h>
#include <stdlib.h>

sb_shard_t *sb_shard_find(const sb_orchestrator_t *o, int number)
{
    for (int i = 0; i < o->shards_held; i++)
        if (o->shard[i]->number == number)
            return o->shard[i];
    return NULL;
}

bool sb_shard_is_fresh(const sb_orchestrator_t *o, const sb_shard_t *shard)
{
    return sb_mono_us() - shard->guard_us < o->overdue_ms * 1000 / 2;
}

int64_t sb_shard_low(const sb_shard_t *shard)
{
    return shard->first_fast ? sb_saga_counter(shard->first_fast->no) : shard->next;
}

/* ---- sagas of the shard ---- */

void sb_shard_add(sb_shard_t *shard, sb_open_saga_t *saga)
{
    sb_saga_list_add(&shard->sagas, saga);
    if (saga->slow)
        shard->slow_count++;
    else if (!shard->first_fast || saga->no < shard->first_fast->no)
        shard->first_fast = saga;
}

void sb_shard_remove(sb_shard_t *shard, sb_open_saga_t *saga)
{
    if (shard->first_fast == saga)
        shard->first_fast = saga->newer;
    shard->slow_count -= saga->slow;
    sb_saga_list_remove(&shard->sagas, saga);
}

/* The slow ones are the oldest ones, so they are the front of the list. */
void sb_shard_mark_slow(sb_shard_t *shard, int64_t now_us)
{
    sb_open_saga_t *saga = shard->first_fast;
    while (saga && shard->slow_count < SB_SLOW_MAX &&
           sb_saga_started_ms(&saga->id) * 1000 < now_us - SB_SLOW_US) {
        saga->slow = true;
        shard->slow_count++;
        shard->slow_changed = true;
        saga = saga->newer;
    }
    shard->first_fast = saga;
}

void sb_shard_write_detail(const sb_shard_t *shard, const char *cluster, sb_buf_t *out)
{
    sb_buf_add_text(out, "{\"cluster\":");
    sb_buf_add_json(out, sb_slice(cluster));
    sb_buf_add_text(out, ",\"slow\":[");
    for (const sb_open_saga_t *saga = shard->sagas.oldest; saga && saga->slow; saga = saga->newer)
        sb_buf_printf(out, "%s%lld", saga == shard->sagas.oldest ? "" : ",",
                      (long long)sb_saga_counter(saga->no));
    sb_buf_add_text(out, "]}");
}

/* ---- taking one ---- */

/* The id of the brokers that the reply offset belongs to. */
static void read_cluster(sb_shard_t *shard)
{
    sb_scan_value_t value;
    sb_buf_t scratch = SB_BUF_INIT;
    if (sb_scan_field(sb_buf_slice(&shard->lease.detail), "cluster", &value) &&
        value.kind == SB_SCAN_STRING) {
        sb_slice_t text = sb_scan_string(&value, &scratch);
        (void)snprintf(shard->cluster, sizeof shard->cluster, "%.*s", SB_SLICE_ARG(text));
    }
    sb_buf_fini(&scratch);
}

static sb_shard_t *new_shard(int number)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_shard_t *shard = calloc(1, sizeof *shard);
    if (!shard)
        return NULL;
    shard->number = number;
    (void)snprintf(role, sizeof role, "saga:%d", number);
    sb_lease_init(&shard->lease, role);
    return shard;
}

static void free_shard(sb_shard_t *shard)
{
    sb_item_list_fini(&shard->items);
    sb_lease_fini(&shard->lease);
    free(shard);
}

static void hold(sb_orchestrator_t *o, sb_shard_t *shard)
{
    o->shard[o->shards_held++] = shard;
    o->owned[shard->number] = true;
    if (!o->home)
        o->home = shard;
    o->has_home = true;
}

sb_code_t sb_shard_take(sb_orchestrator_t *o, int number, sb_error_t *err)
{
    sb_shard_t *shard = new_shard(number);
    if (!shard)
        return sb_fail(err, SB_NO_MEMORY, "take a saga shard: out of memory");
    int64_t before_us = sb_mono_us();
    sb_code_t code = sb_lease_acquire(&shard->lease, o->pg, o->owner, o->overdue_ms, err);
    if (code != SB_OK) {
        free_shard(shard);
        return code;
    }
    shard->guard_us = before_us;
    shard->cursor = shard->read_to = shard->lease.cursor;
    shard->low = shard->lease.low;
    shard->next = shard->lease.next;
    read_cluster(shard);
    hold(o, shard);
    code = sb_recover(o, shard, err);
    if (code == SB_OK)
        code = o->bus_operations->assign(o->bus, number, shard->cursor, shard->cluster, err);
    if (code != SB_OK) {
        sb_shard_drop(o, shard, true);
        return code;
    }
    sb_log(SB_LOG_INFO, "SAGA-SHARD", "took a saga shard|shard=%d epoch=%lld open=%lld", number,
           (long long)shard->lease.epoch, (long long)o->sagas.count);
    return SB_OK;
}

/* ---- letting go ---- */

static void let_go(sb_orchestrator_t *o, const sb_shard_t *shard)
{
    int at = 0;
    while (o->shard[at] != shard)
        at++;
    o->shard[at] = o->shard[--o->shards_held];
    o->owned[shard->number] = false;
    if (o->home == shard)
        o->home = o->shards_held > 0 ? o->shard[0] : NULL;
    o->has_home = o->home != NULL;
}

static bool wants_operator(const sb_open_saga_t *saga)
{
    sb_saga_state_t state;
    sb_open_saga_get_state(saga, &state);
    return saga->stuck || state.attention;
}

void sb_shard_drop(sb_orchestrator_t *o, sb_shard_t *shard, bool release)
{
    if (o->bus_started)
        o->bus_operations->unassign(o->bus, shard->number);
    while (shard->sagas.oldest) {
        sb_open_saga_t *saga = shard->sagas.oldest;
        o->stats.attention -= wants_operator(saga);
        sb_orchestrator_remove_saga(o, shard, saga);
        sb_open_saga_free(saga);
    }
    if (release)
        sb_lease_release(&shard->lease, o->pg);
    let_go(o, shard);
    free_shard(shard);
}
