/* Dead letters that are due are handed over again: a held key as a whole, in order, in one transaction that
 * ends with the key free; one of its own alone. Any member may do it: the row's lock says who. What goes at a
 * rate is paid for from a budget of the whole group, before it is handed over; a member also leaves that
 * time, or some seconds of it, between two of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus_sql.h"

#include <stdlib.h>

/* What is being released. */
typedef struct held_key {
    sb_lane_t *lane;
    char *topic;
    char *key;
    size_t key_length;
    int64_t pace_us;
    int64_t handled;
    int64_t failed_no; /* the dead letter that failed again */
    bool by_handler;
} held_key_t;

static void add_key(const held_key_t *held, sb_pg_params_t *params)
{
    sb_pg_add_text(params, held->lane->sub->config.name);
    sb_pg_add_text(params, held->topic);
    sb_pg_add_bytea(params, (sb_slice_t){held->key, held->key_length});
}

static sb_code_t with_key(const held_key_t *held, const char *sql, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    add_key(held, &params);
    return sb_pg_query(held->lane->pg, sql, &params, NULL, err);
}

/* Hands over one row. *by_handler: the failure is the handler's, or the record is no event still. */
static sb_code_t hand_over(sb_lane_t *lane, const sb_dead_letter_row_t *row, bool *by_handler,
                           sb_error_t *err)
{
    sb_fetched_t *fetched = sb_fetched_new(NULL);
    if (!fetched)
        return sb_fail(err, SB_NO_MEMORY, "redrive: out of memory");
    fetched->message = row->record;
    sb_code_t code = sb_fetched_decode(fetched, err);
    *by_handler = false;
    if (code == SB_OK && fetched->fault) {
        *by_handler = true;
        code = sb_fail(err, SB_INVALID, "%s", fetched->fault);
    } else if (code == SB_OK) {
        sb_delivery_t delivery;
        bool changed;
        sb_fetched_delivery(fetched, &delivery);
        delivery.attempt = row->attempts + 1;
        delivery.redriven = true;
        code = sb_sub_batch_upcast(lane, &delivery, &changed, err);
        if (code == SB_OK)
            code = sb_sub_batch_call(lane, &delivery, 1, err);
        *by_handler = code != SB_OK && code != SB_STOPPED && sb_pg_is_open(lane->pg);
    }
    if (code == SB_OK)
        code = sb_dead_letter_handled(lane->pg, row->no, err);
    sb_fetched_drop(fetched);
    return code;
}

/* ---- a key ---- */

static sb_code_t release_page(held_key_t *held, int64_t *after, bool *more, sb_error_t *err)
{
    sb_dead_letter_row_t *row = malloc(sizeof *row);
    sb_pg_result_t *rows = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    add_key(held, &params);
    sb_pg_add_int8(&params, *after);
    if (!row)
        return sb_fail(err, SB_NO_MEMORY, "redrive: out of memory");
    sb_code_t code = sb_pg_query(held->lane->pg, sb_sql_sub_release_page, &params, &rows, err);
    *more = code == SB_OK && sb_pg_rows(rows) > 0;
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        sb_dead_letter_read(rows, i, row);
        code = hand_over(held->lane, row, &held->by_handler, err);
        *after = row->no;
        if (code == SB_OK)
            held->handled++;
        else
            held->failed_no = row->no;
    }
    sb_pg_result_free(rows);
    free(row);
    return code;
}

static sb_code_t release(held_key_t *held, sb_error_t *err)
{
    int64_t after = 0;
    bool more = true;
    sb_code_t code = SB_OK;
    while (code == SB_OK && more)
        code = release_page(held, &after, &more, err);
    if (code == SB_OK)
        code = with_key(held, sb_sql_sub_release_end, err);
    return code == SB_OK ? sb_pg_commit(held->lane->pg, err) : code;
}

static void count_redriven(const sb_lane_t *lane, int64_t redriven, int64_t failures)
{
    (void)pthread_mutex_lock(&lane->sub->lock);
    lane->sub->stats.redriven += redriven;
    lane->sub->stats.failures += failures;
    (void)pthread_mutex_unlock(&lane->sub->lock);
}

/* It stays as it was, but for what is known of its failure now. */
static sb_code_t stay_held(const held_key_t *held, const sb_error_t *why, sb_error_t *err)
{
    sb_pg_t *pg = held->lane->pg;
    sb_log_error(SB_LOG_WARN, "SUBSCRIBER-HELD", why, "a key stays held|subscription=%s dead_letter=%lld",
                 held->lane->sub->config.name, (long long)held->failed_no);
    count_redriven(held->lane, 0, 1);
    sb_code_t code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = with_key(held, sb_sql_sub_release_failed, err);
    if (code == SB_OK)
        code = sb_dead_letter_failed(pg, held->failed_no, why->message, 0, err);
    if (code == SB_OK)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK)
        sb_pg_rollback(pg);
    return code;
}

static sb_code_t take_key(held_key_t *held, const sb_pg_result_t *row, sb_error_t *err)
{
    sb_slice_t topic = sb_pg_get_slice(row, 0, 0);
    sb_slice_t key = sb_pg_get_slice(row, 0, 1);
    held->topic = strndup(topic.ptr, topic.len);
    held->key = malloc(key.len + 1);
    if (!held->topic || !held->key)
        return sb_fail(err, SB_NO_MEMORY, "redrive: out of memory");
    memcpy(held->key, key.ptr, key.len);
    held->key_length = key.len;
    held->pace_us = sb_pg_get_int(row, 0, 2);
    return SB_OK;
}

/* In the open transaction, which it ends. */
static sb_code_t redrive_key(sb_lane_t *lane, const sb_pg_result_t *row, int64_t *pause_us, sb_error_t *err)
{
    held_key_t held = {.lane = lane};
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = take_key(&held, row, &why);
    if (code == SB_OK)
        code = release(&held, &why);
    if (code != SB_OK)
        sb_pg_rollback(lane->pg);
    if (code == SB_OK) {
        sb_log(SB_LOG_INFO, "SUBSCRIBER-RELEASED", "a key is free again|subscription=%s dead_letters=%lld",
               lane->sub->config.name, (long long)held.handled);
        count_redriven(lane, held.handled, 0);
    } else if (held.by_handler) {
        code = stay_held(&held, &why, err);
    } else if (err) {
        *err = why;
    }
    *pause_us = held.pace_us * (held.handled > 1 ? held.handled : 1);
    free(held.topic);
    free(held.key);
    return code;
}

static sb_code_t find_due(sb_lane_t *lane, const char *sql, bool at_once, sb_pg_result_t **out,
                          sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, lane->sub->config.name);
    sb_pg_add_bool(&params, at_once);
    sb_code_t code = sb_pg_begin(lane->pg, err);
    if (code == SB_OK)
        code = sb_pg_query(lane->pg, sql, &params, out, err);
    if (code != SB_OK || sb_pg_rows(*out) == 0)
        sb_pg_rollback(lane->pg);
    return code;
}

/* ---- one of its own ---- */

/* Again later, until the subscription's attempts are used up. */
static int64_t due_again(const sb_lane_t *lane, int attempts, sb_code_t code)
{
    const sb_retry_policy_t *retry = &lane->sub->retry;
    if (lane->sub->config.order != SB_ORDER_NONE || code == SB_INVALID ||
        !sb_retry_allowed(retry, (uint32_t)attempts))
        return 0;
    return sb_wall_us() +
           (int64_t)sb_retry_delay_ms(retry, (uint32_t)attempts, (uint64_t)sb_mono_us()) * 1000;
}

static sb_code_t redrive_one(sb_lane_t *lane, const sb_pg_result_t *rows, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    bool by_handler = false;
    sb_dead_letter_row_t *row = malloc(sizeof *row);
    if (!row) {
        sb_pg_rollback(lane->pg);
        return sb_fail(err, SB_NO_MEMORY, "redrive: out of memory");
    }
    sb_dead_letter_read(rows, 0, row);
    sb_code_t code = hand_over(lane, row, &by_handler, &why);
    if (code == SB_OK)
        code = sb_pg_commit(lane->pg, &why);
    if (code == SB_OK) {
        count_redriven(lane, 1, 0);
    } else {
        sb_pg_rollback(lane->pg);
        count_redriven(lane, 0, by_handler);
        if (by_handler)
            code = sb_dead_letter_failed(lane->pg, row->no, why.message,
                                         due_again(lane, row->attempts + 1, code), err);
        else if (err)
            *err = why;
    }
    free(row);
    return code;
}

/* Whether something is due; it may go at once when *wait_us is 0. */
static sb_code_t take_turn(sb_lane_t *lane, bool *due, int64_t *wait_us, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, lane->sub->config.name);
    sb_code_t code = sb_pg_query(lane->pg, sb_sql_sub_redrive_turn, &params, &rows, err);
    *due = code == SB_OK && sb_pg_rows(rows) > 0;
    *wait_us = !*due || sb_pg_get_bool(rows, 0, 0) ? 0 : sb_pg_get_int(rows, 0, 1);
    sb_pg_result_free(rows);
    return code;
}

/* at_once: only what has no rate. */
static sb_code_t redrive_next(sb_lane_t *lane, bool at_once, bool *found, int64_t *pause_us, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    *found = false;
    *pause_us = 0;
    sb_code_t code = find_due(lane, sb_sql_sub_release_next, at_once, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0) {
        *found = true;
        code = redrive_key(lane, rows, pause_us, err);
        sb_pg_result_free(rows);
        return code;
    }
    sb_pg_result_free(rows);
    rows = NULL;
    if (code == SB_OK)
        code = find_due(lane, sb_sql_sub_dead_due, at_once, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0) {
        *found = true;
        *pause_us = sb_pg_get_int(rows, 0, SB_DEAD_LETTER_PACE);
        code = redrive_one(lane, rows, err);
    }
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t redrive_beside(sb_lane_t *lane, bool *found, int64_t *pause_us, sb_error_t *err)
{
    int64_t wait_us = *pause_us;
    if (sb_mono_us() < lane->beside_us)
        return SB_OK;
    sb_code_t code = redrive_next(lane, true, found, pause_us, err);
    if (code != SB_OK || *found)
        return code;
    lane->beside_us = sb_mono_us() + SB_REDRIVE_BESIDE_US;
    *found = true;
    *pause_us = wait_us;
    return SB_OK;
}

sb_code_t sb_redrive(sb_lane_t *lane, bool *found, int64_t *pause_us, sb_error_t *err)
{
    sb_code_t code = take_turn(lane, found, pause_us, err);
    if (code != SB_OK || !*found)
        return code;
    return *pause_us > 0 ? redrive_beside(lane, found, pause_us, err)
                         : redrive_next(lane, false, found, pause_us, err);
}
