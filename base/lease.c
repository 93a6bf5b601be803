/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lease.h"

#include "base/clock.h"
#include "base/log.h"
#include "base_sql.h"

#include <stdio.h>

void sb_lease_init(sb_lease_t *lease, const char *role)
{
    *lease = (sb_lease_t){.epoch = 0, .detail = SB_BUF_INIT};
    (void)snprintf(lease->role, sizeof lease->role, "%s", role);
}

void sb_lease_fini(sb_lease_t *lease)
{
    sb_buf_fini(&lease->detail);
    lease->epoch = 0;
}

static sb_code_t try_lock(const sb_lease_t *lease, sb_pg_t *pg, bool *locked, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, lease->role);
    sb_code_t code = sb_pg_query(pg, sb_sql_lease_try_lock, &params, &result, err);
    if (code == SB_OK)
        *locked = sb_pg_get_bool(result, 0, 0);
    sb_pg_result_free(result);
    return code;
}

static void unlock(const sb_lease_t *lease, sb_pg_t *pg)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, lease->role);
    sb_code_t ignored = sb_pg_query(pg, sb_sql_lease_unlock, &params, NULL, NULL);
    (void)ignored;
}

static void add_int(sb_pg_params_t *params, const int64_t *value)
{
    if (value)
        sb_pg_add_int8(params, *value);
    else
        sb_pg_add_null(params, SB_PG_INT8);
}

/* A beat that stays the same is overdue after as long by our own clock: who hangs while the database's clock
 * goes back has one that lies ahead, and would not be missed before that clock has come there again. */
static bool has_stood_still(const sb_lease_t *lease, int64_t overdue_ms)
{
    return lease->seen.since_us > 0 && (sb_mono_us() - lease->seen.since_us) / 1000 >= overdue_ms;
}

static void look_at_beat(sb_lease_t *lease, int64_t epoch, int64_t beat_us)
{
    if (lease->seen.since_us > 0 && lease->seen.epoch == epoch && lease->seen.beat_us == beat_us)
        return;
    lease->seen.epoch = epoch;
    lease->seen.beat_us = beat_us;
    lease->seen.since_us = sb_mono_us();
}

static sb_code_t end_overdue(sb_lease_t *lease, sb_pg_t *pg, int64_t overdue_ms, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, lease->role);
    sb_pg_add_int8(&params, overdue_ms);
    bool still = has_stood_still(lease, overdue_ms);
    add_int(&params, still ? &lease->seen.epoch : NULL);
    add_int(&params, still ? &lease->seen.beat_us : NULL);
    sb_code_t code = sb_pg_query(pg, sb_sql_lease_end_overdue, &params, &result, err);
    if (code == SB_OK &&
        sb_pg_rows(result) == 1) { /* none: a new role, whose first owner is about to write it */
        look_at_beat(lease, sb_pg_get_int(result, 0, 0), sb_pg_get_int(result, 0, 1));
        if (sb_pg_get_int(result, 0, 2) > 0)
            sb_log(SB_LOG_WARN, "LEASE-OVERDUE", "ended the backend of an owner that stopped beating|role=%s",
                   lease->role);
    }
    sb_pg_result_free(result);
    return code;
}

static sb_code_t take(sb_lease_t *lease, sb_pg_t *pg, const char *owner, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, lease->role);
    sb_pg_add_text(&params, owner);
    sb_code_t code = sb_pg_query(pg, sb_sql_lease_take, &params, &result, err);
    if (code != SB_OK)
        return code;
    lease->epoch = sb_pg_get_int(result, 0, 0);
    lease->seen.since_us = 0;
    lease->cursor = sb_pg_get_int(result, 0, 1);
    lease->low = sb_pg_get_int(result, 0, 2);
    lease->next = sb_pg_get_int(result, 0, 3);
    sb_buf_reset(&lease->detail);
    sb_buf_add_slice(&lease->detail, sb_pg_get_slice(result, 0, 4));
    sb_pg_result_free(result);
    if (sb_buf_failed(&lease->detail)) {
        lease->epoch = 0;
        return sb_fail(err, SB_NO_MEMORY, "lease %s: out of memory", lease->role);
    }
    sb_log(SB_LOG_INFO, "LEASE-TAKEN", "took the lease|role=%s epoch=%lld cursor=%lld", lease->role,
           (long long)lease->epoch, (long long)lease->cursor);
    return SB_OK;
}

sb_code_t sb_lease_acquire(sb_lease_t *lease, sb_pg_t *pg, const char *owner, int64_t overdue_ms,
                           sb_error_t *err)
{
    lease->epoch = 0;
    bool locked = false;
    sb_code_t code = try_lock(lease, pg, &locked, err);
    if (code != SB_OK)
        return code;
    if (!locked) {
        code = end_overdue(lease, pg, overdue_ms, err);
        return code != SB_OK ? code
                             : sb_fail(err, SB_BUSY, "lease %s: another instance holds it", lease->role);
    }
    code = take(lease, pg, owner, err);
    if (code != SB_OK)
        unlock(lease, pg);
    return code;
}

void sb_lease_release(sb_lease_t *lease, sb_pg_t *pg)
{
    if (lease->epoch == 0)
        return;
    if (sb_pg_is_open(pg)) {
        sb_pg_rollback(pg);
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_add_text(&params, lease->role);
        sb_pg_add_int8(&params, lease->epoch);
        sb_code_t ignored = sb_pg_query(pg, sb_sql_lease_release, &params, NULL, NULL);
        (void)ignored;
        unlock(lease, pg);
    }
    lease->epoch = 0;
}

void sb_lease_guard(const sb_lease_t *lease, const sb_lease_move_t *move, sb_pg_params_t *params)
{
    static const sb_lease_move_t nothing = {0};
    if (!move)
        move = &nothing;
    *params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_text(params, lease->role);
    sb_pg_add_int8(params, lease->epoch);
    add_int(params, move->cursor);
    add_int(params, move->low);
    add_int(params, move->next);
    sb_pg_add_slice(params, move->detail);
}

sb_code_t sb_lease_beat(sb_lease_t *lease, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_params_t params;
    sb_lease_guard(lease, NULL, &params);
    return sb_pg_query(pg, sb_sql_lease_advance, &params, NULL, err);
}
