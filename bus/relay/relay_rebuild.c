/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_rebuild.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/relay/relay_page.h"
#include "bus/topics.h"
#include "bus_sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SAVE_EVERY_US 1000000
#define TOPIC_MS      30000
#define SERVE_MS      20

typedef struct work {
    const sb_relay_rebuild_t *with;
    int64_t no;
    char category[SB_TYPE_MAX + 1];
    sb_topic_t topic;
    bool recreate;
    bool begun; /* by us or a predecessor: the topic is as we want it */
    int64_t at; /* handed to out, or not of the category */
    int64_t upto;
    int64_t acked_before; /* of out, at the last save */
    int64_t saved_us;
    sb_relay_page_t page;
} work_t;

/* ---- the row ---- */

static sb_code_t read_request(work_t *w, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, w->no);
    sb_code_t code = sb_pg_query(w->with->pg, sb_sql_relay_rebuild_show, &params, &rows, err);
    if (code == SB_OK && (sb_pg_rows(rows) != 1 || sb_pg_get_bool(rows, 0, 5)))
        code = sb_fail(err, SB_NOT_FOUND, "no such request");
    if (code == SB_OK) {
        (void)snprintf(w->category, sizeof w->category, "%s", sb_pg_get_text(rows, 0, 0));
        w->recreate = sb_pg_get_bool(rows, 0, 1);
        w->at = sb_pg_get_int(rows, 0, 2);
        w->begun = !sb_pg_is_null(rows, 0, 3);
        w->upto = w->begun ? sb_pg_get_int(rows, 0, 3) : w->with->upto;
        code = sb_topic_events(w->topic, sb_config_get(w->with->config, "kafka.prefix"),
                               sb_slice(w->category), err);
    }
    sb_pg_result_free(rows);
    return code;
}

/* One statement about the request, with the marks, in a transaction of the lease. */
static sb_code_t write_row(work_t *w, const char *sql, const sb_pg_params_t *params, sb_error_t *err)
{
    sb_pg_params_t guard;
    sb_buf_t detail = SB_BUF_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_relay_marks_write(w->with->marks, &detail);
    sb_lease_move_t move = {.detail = sb_buf_slice(&detail)};
    sb_lease_guard(w->with->lease, &move, &guard);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &guard);
    sb_pg_batch_add(&batch, sql, params);
    sb_code_t code = sb_buf_failed(&detail) ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory")
                                            : sb_pg_batch_run(w->with->pg, &batch, NULL, NULL, err);
    sb_buf_fini(&detail);
    return code;
}

static sb_code_t save(work_t *w, bool ended, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    int64_t oldest = sb_relay_out_oldest(w->with->out);
    int64_t acked = sb_relay_out_acked(w->with->out);
    sb_pg_add_int8(&params, w->no);
    sb_pg_add_int8(&params, oldest > 0 ? oldest - 1 : w->at);
    sb_pg_add_int8(&params, w->upto);
    sb_pg_add_int8(&params, acked - w->acked_before);
    sb_pg_add_bool(&params, ended);
    sb_code_t code = write_row(w, sb_sql_relay_rebuild_move, &params, err);
    if (code != SB_OK)
        return code;
    w->acked_before = acked;
    w->saved_us = sb_mono_us();
    return SB_OK;
}

static sb_code_t refuse(work_t *w, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_log_error(SB_LOG_ERROR, "RELAY-REBUILD", err, "a topic cannot be filled again|category=%s",
                 w->category);
    sb_error_t why = *err;
    sb_error_clear(err);
    sb_pg_add_int8(&params, w->no);
    sb_pg_add_text(&params, why.message);
    return write_row(w, sb_sql_relay_rebuild_refuse, &params, err);
}

/* ---- the topic ---- */

static void forget_marks(const work_t *w)
{
    sb_relay_mark_t *mark = sb_relay_marks_find(w->with->marks, w->topic);
    for (int32_t p = 0; mark && p < mark->count; p++)
        mark->acked[p] = mark->sent[p] = 0;
}

/* An empty topic with as many partitions as before, and a chain of positions that begins. */
static sb_code_t begin(work_t *w, sb_error_t *err)
{
    int64_t partitions = 1;
    const sb_relay_mark_t *mark = sb_relay_marks_find(w->with->marks, w->topic);
    sb_code_t code = sb_config_get_int(w->with->config, "topics.partitions", 1, 100000, &partitions, err);
    if (code == SB_OK)
        code = sb_topics_clear(w->with->config, w->topic, mark ? mark->count : (int32_t)partitions,
                               w->recreate, TOPIC_MS, err);
    if (code != SB_OK)
        return code;
    forget_marks(w);
    sb_log(SB_LOG_WARN, "RELAY-REBUILD", "fills a topic again from the store|topic=%s upto=%" PRId64,
           w->topic, w->upto);
    return save(w, false, err);
}

/* ---- the events ---- */

static sb_code_t breathe(work_t *w, int timeout_ms, sb_error_t *err)
{
    if (atomic_load(w->with->stopping))
        return sb_fail(err, SB_STOPPED, "the relay is stopping");
    sb_code_t code = sb_relay_out_serve(w->with->out, timeout_ms, err);
    if (code == SB_OK && sb_mono_us() - w->saved_us > SAVE_EVERY_US)
        code = save(w, false, err);
    return code;
}

static sb_code_t send_row(work_t *w, sb_error_t *err)
{
    sb_event_t event;
    sb_code_t code = sb_relay_page_event(&w->page, w->with->pg, &event, err);
    if (code != SB_OK)
        return code;
    if (sb_slice_is(sb_event_category(event.type), w->category))
        while ((code = sb_relay_out_send(w->with->out, &event, w->with->incarnation, w->with->lease->epoch,
                                         err)) == SB_BUSY) {
            code = breathe(w, SERVE_MS, err);
            if (code != SB_OK)
                return code;
        }
    if (code == SB_OK) {
        w->at = event.seq;
        sb_relay_page_next(&w->page);
    }
    return code;
}

static sb_code_t send_page(work_t *w, sb_error_t *err)
{
    sb_code_t code = sb_relay_page_load(&w->page, w->with->pg, NULL, w->at, w->upto, err);
    while (code == SB_OK && sb_relay_page_has_row(&w->page))
        code = send_row(w, err);
    if (code == SB_OK)
        w->at = w->page.end;
    sb_relay_page_drop(&w->page);
    return code == SB_OK ? breathe(w, 0, err) : code;
}

static sb_code_t send_all(work_t *w, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && w->at < w->upto)
        code = send_page(w, err);
    while (code == SB_OK && sb_relay_out_oldest(w->with->out) > 0)
        code = breathe(w, SERVE_MS, err);
    return code == SB_OK ? save(w, true, err) : code;
}

/* ---- the whole ---- */

/* Waiting does not mend it: the operator must know. */
static bool is_final(sb_code_t code)
{
    return code == SB_CONFLICT || code == SB_INVALID || code == SB_DENIED || code == SB_MISMATCH ||
           code == SB_UNSUPPORTED;
}

sb_code_t sb_relay_rebuild_run(const sb_relay_rebuild_t *rebuild, int64_t rebuild_no, sb_error_t *err)
{
    work_t w = {.with = rebuild, .no = rebuild_no, .saved_us = sb_mono_us()};
    sb_relay_page_init(&w.page);
    (void)sb_relay_out_restart(rebuild->out); /* what it knows of the topic is old */
    w.acked_before = sb_relay_out_acked(rebuild->out);
    sb_code_t code = read_request(&w, err);
    bool known = code == SB_OK;
    if (code == SB_OK && !w.begun)
        code = begin(&w, err);
    if (code == SB_OK)
        code = send_all(&w, err);
    if (code == SB_OK)
        sb_log(SB_LOG_INFO, "RELAY-REBUILD", "a topic is whole again|topic=%s", w.topic);
    (void)sb_relay_out_restart(rebuild->out);
    sb_relay_page_fini(&w.page);
    if (known && is_final(code))
        return refuse(&w, err);
    return code;
}
