/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/detach.h"

#include "base/clock.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdio.h>

#define STREAMS_PER_BATCH 500 /* whose rows are locked together: some milliseconds */
#define TRY_EVERY_MS      250
#define LOCK_WAIT         "100ms" /* how long streams that are locked already wait for one that is not free */

static const char *parent_of(sb_event_class_t event_class)
{
    return event_class == SB_CLASS_SAGA ? "event_saga" : "event_domain";
}

/* ---- the plan ---- */

static sb_code_t check_passed(sb_pg_t *pg, sb_event_class_t event_class, const sb_detach_range_t *range,
                              sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int4(&params, (int)event_class);
    sb_pg_add_int8(&params, range->to);
    sb_code_t code = sb_pg_query(pg, sb_sql_detach_behind, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0)
        code = sb_fail(err, SB_CONFLICT,
                       "the range %" PRId64 " to %" PRId64 " cannot go: %s stands at %" PRId64
                       ". Wait for it, or take "
                       "fewer ranges with a lower --before",
                       range->from, range->to, sb_pg_get_text(rows, 0, 0), sb_pg_get_int(rows, 0, 1));
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_detach_plan(sb_pg_t *pg, sb_event_class_t event_class, int64_t before, sb_detach_plan_t *plan,
                         sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    memset(plan, 0, sizeof *plan);
    plan->event_class = event_class;
    sb_pg_add_text(&params, parent_of(event_class));
    sb_pg_add_int8(&params, before);
    sb_code_t code = sb_pg_query(pg, sb_sql_detach_leaves, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows) && i < SB_DETACH_MAX; i++) {
        sb_detach_range_t *range = &plan->range[plan->count++];
        (void)snprintf(range->leaf, sizeof range->leaf, "%s", sb_pg_get_text(rows, i, 0));
        range->from = sb_pg_get_int(rows, i, 1);
        range->to = sb_pg_get_int(rows, i, 2);
        range->events = sb_pg_get_int(rows, i, 3);
        range->bytes = sb_pg_get_int(rows, i, 4);
        range->begun = sb_pg_get_bool(rows, i, 5);
    }
    sb_pg_result_free(rows);
    return code == SB_OK && plan->count ? check_passed(pg, event_class, &plan->range[plan->count - 1], err)
                                        : code;
}

/* ---- the streams ---- */

/* Statements of their own, so that the last sees what those wrote that the one before waited for. */
static sb_code_t raise_batch(sb_pg_t *pg, int64_t from, int64_t to, int64_t seq, sb_error_t *err)
{
    sb_pg_params_t wait = SB_PG_PARAMS_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_add_text(&wait, LOCK_WAIT);
    sb_pg_add_int8(&params, from);
    sb_pg_add_int8(&params, to);
    sb_pg_add_int8(&params, seq);
    sb_pg_batch_add(&batch, sb_sql_detach_lock_wait, &wait);
    sb_pg_batch_add(&batch, sb_sql_detach_lock_streams, &params);
    sb_pg_batch_add(&batch, sb_sql_detach_raise_streams, &params);
    return sb_pg_batch_run(pg, &batch, NULL, NULL, err);
}

static bool is_lock_timeout(sb_pg_t *pg, const sb_error_t *err)
{
    return sb_pg_is_open(pg) && strcmp(err->origin, "pg:55P03") == 0;
}

/* The stream that somebody holds is found by smaller and smaller batches, so that in the end nobody else
 * waits with it, and then waited for in short tries. */
static sb_code_t raise_numbers(sb_pg_t *pg, int64_t last, int64_t seq, int64_t until_us, sb_error_t *err)
{
    int64_t width = STREAMS_PER_BATCH;
    for (int64_t from = 1; from <= last;) {
        sb_error_t tried = SB_ERROR_INIT;
        sb_code_t code = raise_batch(pg, from, from + width - 1, seq, &tried);
        if (code == SB_OK) {
            from += width;
            width = width * 8 < STREAMS_PER_BATCH ? width * 8 : STREAMS_PER_BATCH;
        } else if (!is_lock_timeout(pg, &tried)) {
            if (err)
                *err = tried;
            return code;
        } else if (width > 1) {
            width = width < 8 ? 1 : width / 8;
        } else if (sb_mono_us() > until_us) {
            return sb_fail(err, SB_TIMEOUT,
                           "the range up to %" PRId64 " is noted as gone, but a transaction that is still "
                           "open holds stream number %" PRId64 ": run this again",
                           seq, from);
        } else {
            sb_sleep_ms(TRY_EVERY_MS);
        }
    }
    return SB_OK;
}

static sb_code_t raise_streams(sb_pg_t *pg, int64_t seq, int64_t until_us, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_detach_streams, NULL, &rows, err);
    int64_t last = code == SB_OK ? sb_pg_get_int(rows, 0, 0) : 0;
    sb_pg_result_free(rows);
    return code == SB_OK ? raise_numbers(pg, last, seq, until_us, err) : code;
}

/* ---- the partition ---- */

static sb_code_t find_leaf(sb_pg_t *pg, sb_event_class_t event_class, const sb_detach_range_t *range,
                           bool *attached, bool *begun, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    *attached = false;
    sb_pg_add_text(&params, parent_of(event_class));
    sb_pg_add_int8(&params, range->to + 1);
    sb_code_t code = sb_pg_query(pg, sb_sql_detach_leaves, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++)
        if (strcmp(sb_pg_get_text(rows, i, 0), range->leaf) == 0) {
            *attached = true;
            *begun = sb_pg_get_bool(rows, i, 5);
        }
    sb_pg_result_free(rows);
    return code;
}

/* CONCURRENTLY waits for whoever may still read the range, and lets all others by; the wait for the one lock
 * it takes on the leaf in the end is short and asked for again. What was begun is only finished. */
static sb_code_t try_detach(sb_pg_t *pg, sb_event_class_t event_class, const sb_detach_range_t *range,
                            bool begun, sb_error_t *err)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql, "ALTER TABLE sagabus.%s DETACH PARTITION sagabus.\"%s\" %s",
                   parent_of(event_class), range->leaf, begun ? "FINALIZE" : "CONCURRENTLY");
    return sb_pg_script(pg, sql, err);
}

static sb_code_t detach_leaf(sb_pg_t *pg, sb_event_class_t event_class, const sb_detach_range_t *range,
                             int64_t until_us, sb_error_t *err)
{
    sb_code_t code = sb_pg_script(pg, "SET lock_timeout = '1s'", err);
    while (code == SB_OK) {
        sb_error_t tried = SB_ERROR_INIT;
        bool attached = false;
        bool begun = false;
        code = find_leaf(pg, event_class, range, &attached, &begun, err);
        if (code != SB_OK || !attached)
            break;
        if (try_detach(pg, event_class, range, begun, &tried) == SB_OK)
            continue;
        if (!is_lock_timeout(pg, &tried)) {
            if (err)
                *err = tried;
            return tried.code;
        }
        if (sb_mono_us() > until_us)
            return sb_fail(err, SB_TIMEOUT,
                           "the range %" PRId64 " to %" PRId64
                           " is noted as gone, but transactions that may read it are "
                           "still open: run this again",
                           range->from, range->to);
        sb_sleep_ms(TRY_EVERY_MS);
    }
    return code;
}

sb_code_t sb_detach_range(sb_pg_t *pg, sb_event_class_t event_class, const sb_detach_range_t *range,
                          int64_t patience_ms, sb_error_t *err)
{
    int64_t until_us = sb_mono_us() + patience_ms * 1000;
    sb_pg_params_t note = SB_PG_PARAMS_INIT;
    sb_pg_params_t done = SB_PG_PARAMS_INIT;
    sb_pg_add_int2(&note, (int16_t)event_class);
    sb_pg_add_int8(&note, range->from);
    sb_pg_add_int8(&note, range->to);
    sb_pg_add_text(&note, range->leaf);
    sb_pg_add_int2(&done, (int16_t)event_class);
    sb_pg_add_int8(&done, range->to);
    sb_code_t code = check_passed(pg, event_class, range, err);
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_detach_note, &note, NULL, err);
    if (code == SB_OK && event_class == SB_CLASS_DOMAIN)
        code = raise_streams(pg, range->to, until_us, err);
    if (code == SB_OK)
        code = detach_leaf(pg, event_class, range, until_us, err);
    return code == SB_OK ? sb_pg_query(pg, sb_sql_detach_done, &done, NULL, err) : code;
}
