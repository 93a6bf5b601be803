/* Read the history by COPY and fold it in memory, load the rows into the tables of the next generation, catch
 * up by batches, switch. Whatever fails before the switch leaves the live view as it is; what stands then of
 * the next generation is dropped by the replay after this one, which knows it by its missing row in
 * view_generation.
 *
 * Two replays of a view exclude each other by the lease `replay:NAME`, which has no overdue time: a COPY of
 * an hour does not beat, and the lock is free when its connection is gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "base/clock.h"
#include "base/log.h"
#include "events/view/view_batch.h"
#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdlib.h>

#define NEVER_MS        (INT64_C(10) * 366 * 86400 * 1000)
#define REPORT_EVERY_US 200000
#define LOOK_EVERY      4096    /* events between looks at the clock */
#define SEND_BYTES      262144u /* of rows in one piece of COPY */
#define NEAR_SEQS       2000    /* close enough to the end of the history to switch */
#define ROUNDS_MAX      20
#define SWITCH_TRIES    50

typedef struct replay {
    const sb_replay_config_t *config;
    sb_pg_t *pg;
    sb_lease_t lease; /* replay:NAME; its cursor is how far the next generation is */
    sb_view_definition_t *definition;
    sb_hash_t fingerprint;
    int64_t number; /* of the next generation */
    sb_view_fold_t *fold;
    sb_view_type_map_t types;
    sb_view_batch_t *batch;
    sb_replay_progress_t progress;
    int64_t start_us;
    int64_t phase_us;
    int64_t read_us; /* spent reading and folding */
    int64_t reported_us;
    int64_t time_us; /* of the newest event folded */
    int64_t parked;
} replay_t;

const char *sb_replay_phase_name(sb_replay_phase_t phase)
{
    static const char *const names[] = {"read", "load", "catch up", "switch", "done"};
    return names[phase];
}

/* ---- progress ---- */

static double seconds_since(int64_t start_us)
{
    return (double)(sb_mono_us() - start_us) / 1e6;
}

static sb_code_t report(replay_t *replay, sb_error_t *err)
{
    sb_replay_progress_t *p = &replay->progress;
    double spent = seconds_since(replay->phase_us);
    replay->reported_us = sb_mono_us();
    p->lag_ms = replay->time_us ? (sb_wall_us() - replay->time_us) / 1000 : 0;
    if (p->phase == SB_REPLAY_READ) {
        double share = p->seq_end > 0 ? (double)p->seq / (double)p->seq_end : 1;
        p->events_per_s = spent > 0 ? (double)p->events / spent : 0;
        p->events_total = share > 0 ? (int64_t)((double)p->events / share) : 0;
        p->eta_s = share > 0 ? spent / share - spent : 0;
    } else if (p->phase == SB_REPLAY_LOAD) {
        size_t rows = 0;
        for (int i = 0; i < replay->definition->table_count; i++)
            rows += sb_view_fold_rows(replay->fold, i)->count;
        p->eta_s = p->rows > 0 ? spent * (double)rows / (double)p->rows - spent : 0;
    } else {
        p->eta_s = 0;
    }
    return replay->config->on_progress ? replay->config->on_progress(replay->config->context, p, err) : SB_OK;
}

static sb_code_t enter_phase(replay_t *replay, sb_replay_phase_t phase, sb_error_t *err)
{
    replay->progress.phase = phase;
    replay->phase_us = sb_mono_us();
    if (phase != SB_REPLAY_READ)
        replay->progress.events_total = replay->progress.events;
    return report(replay, err);
}

/* ---- read ---- */

static sb_code_t on_event(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    replay_t *replay = context;
    if (count != 6)
        return sb_fail(err, SB_CORRUPT, "replay: a row of %d fields", count);
    sb_view_input_t input = {.seq = sb_pg_read_int(fields[0]),
                             .time_us = sb_pg_read_time(fields[1]),
                             .stream = sb_pg_read_int(fields[5]),
                             .subject = fields[3],
                             .data = fields[4]};
    int type_no = (int)sb_pg_read_int(fields[2]);
    sb_code_t code = sb_view_type_map_find(&replay->types, replay->definition, replay->config->catalog,
                                           type_no, &input.event, err);
    if (code == SB_OK)
        code = sb_view_type_map_upcast(&replay->types, replay->definition, type_no, &input, err);
    if (code == SB_OK)
        code = sb_view_fold_apply(replay->fold, &input, err);
    if (code != SB_OK)
        return code;
    replay->time_us = input.time_us;
    replay->progress.seq = input.seq;
    if (++replay->progress.events % LOOK_EVERY == 0 && sb_mono_us() - replay->reported_us > REPORT_EVERY_US)
        code = report(replay, err);
    return code;
}

/* The type numbers to read, as PostgreSQL writes an array. Every one must be known: a history is not folded
 * around events that this binary's catalog cannot name. */
static sb_code_t type_numbers(replay_t *replay, sb_buf_t *out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_array_t names;
    sb_pg_array_init(&names, SB_PG_TEXT);
    for (int i = 0; i < replay->definition->event_count; i++)
        sb_pg_array_add_slice(&names, sb_slice(replay->definition->event[i].name));
    sb_pg_add_array(&params, &names);
    sb_code_t code = sb_pg_query(replay->pg, sb_sql_view_type_nos, &params, &result, err);
    if (code == SB_OK)
        code = sb_catalog_load(replay->config->catalog, replay->pg, err);
    sb_buf_add_char(out, '{');
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++) {
        int event;
        int type_no = (int)sb_pg_get_int(result, i, 0);
        code = sb_view_type_map_find(&replay->types, replay->definition, replay->config->catalog, type_no,
                                     &event, err);
        if (code == SB_NOT_FOUND)
            code = sb_fail(err, SB_UNSUPPORTED, "event type %s has a version that is not known here",
                           sb_pg_get_text(result, i, 1));
        sb_buf_printf(out, "%s%d", i ? "," : "", type_no);
    }
    sb_buf_add_char(out, '}');
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "replay: out of memory");
    sb_pg_result_free(result);
    sb_pg_array_fini(&names);
    return code;
}

static sb_code_t read_range(replay_t *replay, int64_t after, int64_t to, sb_error_t *err)
{
    sb_buf_t numbers = SB_BUF_INIT;
    sb_buf_t sql = SB_BUF_INIT;
    sb_code_t code = type_numbers(replay, &numbers, err);
    if (code == SB_OK) {
        sb_view_sql_copy_out(&sql, replay->definition, sb_buf_text(&numbers), after, to);
        code = sb_buf_failed(&sql) ? sb_fail(err, SB_NO_MEMORY, "replay: out of memory")
                                   : sb_pg_copy_out(replay->pg, sb_buf_text(&sql), on_event, replay, err);
    }
    sb_buf_fini(&sql);
    sb_buf_fini(&numbers);
    replay->progress.seq = to;
    return code;
}

/* By ranges, one statement each, so that no snapshot is held for as long as the whole takes. */
static sb_code_t read_history(replay_t *replay, sb_error_t *err)
{
    int64_t width = replay->config->range_seqs ? replay->config->range_seqs : 1000000;
    int64_t end = 0;
    sb_code_t code = sb_view_safe_seq(replay->pg, &end, err);
    replay->progress.seq_end = end;
    if (code == SB_OK)
        code = sb_view_history_whole(replay->pg, replay->definition->name, err);
    if (code == SB_OK)
        code = enter_phase(replay, SB_REPLAY_READ, err);
    for (int64_t after = 0; after < end && code == SB_OK; after += width)
        code = read_range(replay, after, after + width < end ? after + width : end, err);
    if (code == SB_OK) /* nothing was taken away while it was read */
        code = sb_view_history_whole(replay->pg, replay->definition->name, err);
    replay->read_us = sb_mono_us() - replay->phase_us;
    replay->lease.cursor = end;
    return code;
}

/* ---- load ---- */

static sb_code_t send_rows(replay_t *replay, const sb_view_rows_t *rows, sb_error_t *err)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_code_t code = SB_OK;
    for (size_t k = 0; k < rows->count && code == SB_OK; k++) {
        const sb_view_row_t *row = sb_view_rows_at(rows, k);
        if (!row->present)
            continue;
        sb_pg_copy_row(&out, rows->table->column_count + 1);
        for (int i = 0; i < rows->table->column_count; i++) {
            sb_view_value_t value = sb_view_rows_value(rows, row, i);
            sb_view_value_copy(rows->table->column[i].type, &value, &out);
        }
        sb_pg_copy_bool(&out, row->dirty);
        replay->progress.rows++;
        if (out.len >= SEND_BYTES)
            code = sb_pg_copy_in_send(replay->pg, &out, err);
        if (code == SB_OK && k % LOOK_EVERY == 0 && sb_mono_us() - replay->reported_us > REPORT_EVERY_US)
            code = report(replay, err);
    }
    if (code == SB_OK)
        code = sb_pg_copy_in_send(replay->pg, &out, err);
    sb_buf_fini(&out);
    return code;
}

static sb_code_t run_built(replay_t *replay, sb_buf_t *text, sb_error_t *err)
{
    sb_code_t code = sb_buf_failed(text) ? sb_fail(err, SB_NO_MEMORY, "replay: out of memory")
                                         : sb_pg_script(replay->pg, sb_buf_text(text), err);
    sb_buf_reset(text);
    return code;
}

/* Made, filled and indexed in one transaction, so that the rows are written frozen and once. */
static sb_code_t load_table(replay_t *replay, int t, sb_error_t *err)
{
    const sb_view_table_t *table = &replay->definition->table[t];
    sb_buf_t text = SB_BUF_INIT;
    sb_view_sql_create(&text, table, replay->number);
    sb_code_t code = run_built(replay, &text, err);
    if (code == SB_OK) {
        sb_view_sql_copy_in(&text, table, replay->number);
        code = sb_pg_copy_in_start(replay->pg, sb_buf_text(&text), err);
        sb_buf_reset(&text);
    }
    if (code == SB_OK)
        code = send_rows(replay, sb_view_fold_rows(replay->fold, t), err);
    if (code == SB_OK)
        code = sb_pg_copy_in_end(replay->pg, NULL, err);
    if (code == SB_OK) {
        sb_view_sql_index(&text, table, replay->number);
        code = run_built(replay, &text, err);
    }
    sb_buf_fini(&text);
    return code;
}

static sb_code_t load_parked(replay_t *replay, sb_error_t *err)
{
    sb_view_parked_rows_t parked;
    replay->parked = (int64_t)sb_view_fold_parked_count(replay->fold);
    if (replay->parked == 0)
        return SB_OK;
    sb_view_parked_rows_init(&parked);
    sb_code_t code = sb_view_parked_rows_fill(&parked, replay->definition, replay->number, replay->fold, err);
    if (code == SB_OK)
        code = sb_pg_query(replay->pg, sb_sql_view_parked_add, &parked.params, NULL, err);
    sb_view_parked_rows_fini(&parked);
    return code;
}

static sb_code_t load_all(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = sb_lease_beat(&replay->lease, replay->pg, err); /* the guard */
    for (int t = 0; t < replay->definition->table_count && code == SB_OK; t++)
        code = load_table(replay, t, err);
    return code == SB_OK ? load_parked(replay, err) : code;
}

static sb_code_t load_rows(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = enter_phase(replay, SB_REPLAY_LOAD, err);
    if (code == SB_OK)
        code = sb_pg_begin(replay->pg, err);
    if (code == SB_OK)
        code = load_all(replay, err);
    if (code == SB_OK)
        code = sb_pg_commit(replay->pg, err);
    if (code != SB_OK) {
        sb_pg_rollback(replay->pg);
        return code;
    }
    sb_view_fold_free(&replay->fold);
    sb_buf_t text = SB_BUF_INIT;
    for (int t = 0; t < replay->definition->table_count; t++) {
        sb_buf_add_text(&text, "ANALYZE " SB_VIEW_SCHEMA ".\"");
        sb_view_sql_generation(&text, &replay->definition->table[t], replay->number);
        sb_buf_add_text(&text, "\";");
    }
    code = run_built(replay, &text, err);
    sb_buf_fini(&text);
    return code;
}

/* ---- catch up ---- */

static sb_code_t fold_to(replay_t *replay, int64_t to, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && replay->lease.cursor < to) {
        sb_view_batch_result_t done;
        code = sb_view_batch_run(replay->batch, &replay->lease, to, &done, err);
        if (code == SB_OK && done.waits_for[0])
            code = sb_fail(err, SB_UNSUPPORTED, "%s", done.waits_for);
        if (code != SB_OK)
            break;
        replay->progress.events += done.events;
        replay->progress.rows += done.rows;
        replay->progress.seq = replay->lease.cursor;
        replay->parked += done.parked;
        if (sb_mono_us() - replay->reported_us > REPORT_EVERY_US)
            code = report(replay, err);
    }
    return code;
}

static sb_code_t catch_up(replay_t *replay, sb_error_t *err)
{
    sb_view_batch_config_t config = {.pg = replay->pg,
                                     .catalog = replay->config->catalog,
                                     .definition = replay->definition,
                                     .generation = replay->number,
                                     .events_max = 5000};
    sb_code_t code = enter_phase(replay, SB_REPLAY_CATCH_UP, err);
    if (code == SB_OK)
        code = sb_view_batch_new(&replay->batch, &config, err);
    for (int round = 0; code == SB_OK && round < ROUNDS_MAX; round++) {
        int64_t safe = 0;
        code = sb_view_safe_seq(replay->pg, &safe, err);
        replay->progress.seq_end = safe;
        if (code != SB_OK || safe - replay->lease.cursor < NEAR_SEQS)
            break;
        code = fold_to(replay, safe, err);
    }
    return code;
}

/* ---- switch ---- */

static sb_code_t lock_live(replay_t *replay, int64_t *old_seq, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_view_role(role, replay->definition->name);
    sb_pg_add_text(&params, role);
    sb_code_t code = sb_pg_query(replay->pg, sb_sql_view_lease_ensure, &params, NULL, err);
    if (code == SB_OK)
        code = sb_pg_query(replay->pg, sb_sql_view_lease_lock, &params, &result, err);
    if (code == SB_OK)
        *old_seq = sb_pg_get_int(result, 0, 0);
    sb_pg_result_free(result);
    return code;
}

/* The history was folded in the versions that were the newest at the start. When there are others by now, one
 * part of the rows would be of the old form and one of the new. */
static sb_code_t check_versions(replay_t *replay, sb_error_t *err)
{
    sb_hash_t now;
    sb_code_t code = sb_catalog_load(replay->config->catalog, replay->pg, err);
    if (code == SB_OK)
        code = sb_view_fingerprint(replay->config->catalog, replay->definition, &now, err);
    if (code == SB_OK && memcmp(now.byte, replay->fingerprint.byte, sizeof now.byte) != 0)
        code = sb_fail(
            err, SB_CONFLICT,
            "view %s: a new version of one of its event types was registered during the replay; start it "
            "again",
            replay->definition->name);
    return code;
}

/* The lock keeps the projector out from here to the end, and what is left to fold is little. Readers must not
 * go back in time, so the new generation goes at least as far as the old one. */
static sb_code_t switch_locked(replay_t *replay, sb_error_t *err)
{
    int64_t old_seq = 0;
    int64_t safe = 0;
    sb_code_t code = sb_pg_script(replay->pg, "SET LOCAL lock_timeout = '250ms'", err);
    if (code == SB_OK)
        code = sb_lease_beat(&replay->lease, replay->pg, err); /* the guard */
    if (code == SB_OK)
        code = lock_live(replay, &old_seq, err);
    if (code == SB_OK)
        code = sb_view_safe_seq(replay->pg, &safe, err);
    if (code == SB_OK)
        code = fold_to(replay, safe > old_seq ? safe : old_seq, err);
    if (code == SB_OK) /* nor since: the live view has passed what was still to be folded here */
        code = sb_view_history_whole(replay->pg, replay->definition->name, err);
    if (code == SB_OK)
        code = check_versions(replay, err);
    if (code == SB_OK)
        code = sb_view_generation_switch(replay->pg, replay->definition, &replay->fingerprint, replay->number,
                                         old_seq, replay->lease.cursor, err);
    return code;
}

static sb_code_t try_switch(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = sb_pg_begin(replay->pg, err);
    if (code == SB_OK)
        code = switch_locked(replay, err);
    if (code != SB_OK) {
        sb_pg_rollback(replay->pg);
        return code;
    }
    return sb_pg_commit(replay->pg, err);
}

/* A commit whose answer was lost: the database says whether the switch took place. */
static sb_code_t find_out(replay_t *replay, sb_error_t *err)
{
    sb_view_generation_t live = {0, 0};
    sb_error_t ignored = SB_ERROR_INIT;
    if (sb_pg_reopen(replay->pg, &ignored) != SB_OK ||
        sb_view_generation_live(replay->pg, replay->definition->name, &live, &ignored) != SB_OK)
        return sb_context(err, SB_UNKNOWN_OUTCOME, "switch of view %s", replay->definition->name);
    if (live.number == replay->number)
        return SB_OK;
    return sb_fail(err, SB_UNAVAILABLE, "view %s was not switched: the connection broke",
                   replay->definition->name);
}

/* A reader with a long query holds its lock on the SQL view: try again rather than make everyone wait behind
 * us. */
static sb_code_t switch_over(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = enter_phase(replay, SB_REPLAY_SWITCH, err);
    for (int tries = 1; code == SB_OK; tries++) {
        sb_error_t cause = SB_ERROR_INIT;
        int64_t cursor = replay->lease.cursor;
        sb_replay_progress_t progress = replay->progress;
        int64_t parked = replay->parked;
        sb_code_t tried = try_switch(replay, &cause);
        if (tried == SB_OK)
            return SB_OK;
        if (tried == SB_UNKNOWN_OUTCOME)
            return find_out(replay, err);
        if (!cause.retryable || !sb_pg_is_open(replay->pg) || tries == SWITCH_TRIES) {
            if (err)
                *err = cause;
            return sb_context(err, tried, "switch of view %s", replay->definition->name);
        }
        replay->lease.cursor = cursor; /* what was folded in the transaction is undone with it */
        replay->progress = progress;
        replay->parked = parked;
        sb_view_batch_free(&replay->batch);
        sb_sleep_ms(100);
        code = catch_up(replay, err);
        replay->progress.phase = SB_REPLAY_SWITCH;
    }
    return code;
}

/* ---- the whole ---- */

static sb_code_t add_name(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    sb_buf_t *names = context;
    (void)err;
    sb_buf_printf(names, "%s%s", names->len ? ", " : "", artifact->name);
    return SB_OK;
}

static sb_code_t find_view(replay_t *replay, sb_error_t *err)
{
    sb_catalog_t *catalog = replay->config->catalog;
    sb_code_t code = sb_catalog_load(catalog, replay->pg, err);
    if (code != SB_OK)
        return code;
    sb_slice_t name = sb_slice(replay->config->view);
    if (sb_catalog_artifact(catalog, SB_ARTIFACT_VIEW, name, 0))
        return sb_view_registered(catalog, name, 0, &replay->definition, &replay->fingerprint, err);
    sb_buf_t names = SB_BUF_INIT;
    code = sb_catalog_each(catalog, SB_ARTIFACT_VIEW, add_name, &names, err);
    if (code == SB_OK)
        code = sb_fail(err, SB_NOT_FOUND, "no view %s is registered; there are: %s", replay->config->view,
                       names.len ? sb_buf_text(&names) : "none");
    sb_buf_fini(&names);
    return code;
}

static sb_code_t prepare(replay_t *replay, sb_error_t *err)
{
    const char *owner = replay->config->owner ? replay->config->owner : "replay";
    char role[SB_LEASE_ROLE_MAX];
    int64_t memory = replay->config->memory_bytes ? replay->config->memory_bytes : INT64_C(256) << 20;
    sb_pg_config_t config = {.uri = replay->config->pg_uri,
                             .application_name = "sagabus-replay",
                             .idle_in_transaction_ms = 60000,
                             .statement_timeout_ms = UINT32_MAX};
    sb_code_t code = sb_pg_open(&replay->pg, &config, err);
    if (code == SB_OK)
        code = find_view(replay, err);
    if (code != SB_OK)
        return code;
    sb_view_replay_role(role, replay->definition->name);
    sb_lease_init(&replay->lease, role);
    code = sb_lease_acquire(&replay->lease, replay->pg, owner, NEVER_MS, err);
    if (code == SB_BUSY)
        return sb_fail(err, SB_BUSY, "another replay of view %s is running", replay->definition->name);
    if (code == SB_OK)
        code = sb_view_generation_claim(replay->pg, replay->definition, err);
    if (code == SB_OK)
        code = sb_view_generation_sweep(replay->pg, replay->definition->name, err);
    if (code == SB_OK)
        code = sb_view_generation_last(replay->pg, replay->definition->name, &replay->number, err);
    replay->number++;
    return code == SB_OK ? sb_view_fold_new(&replay->fold, replay->definition, (size_t)memory, err) : code;
}

static sb_code_t rebuild(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = prepare(replay, err);
    if (code == SB_OK)
        code = read_history(replay, err);
    if (code == SB_OK)
        code = load_rows(replay, err);
    if (code == SB_OK)
        code = catch_up(replay, err);
    return code == SB_OK ? switch_over(replay, err) : code;
}

static void fill_report(const replay_t *replay, sb_replay_report_t *out)
{
    double seconds = seconds_since(replay->start_us);
    *out = (sb_replay_report_t){.version = replay->definition->version,
                                .generation = replay->number,
                                .seq = replay->lease.cursor,
                                .events = replay->progress.events,
                                .rows = replay->progress.rows,
                                .parked = replay->parked,
                                .seconds = seconds,
                                .read_seconds = (double)replay->read_us / 1e6,
                                .events_per_s = seconds > 0 ? (double)replay->progress.events / seconds : 0};
}

sb_code_t sb_replay_run(const sb_replay_config_t *config, sb_replay_report_t *report_out, sb_error_t *err)
{
    replay_t replay = {.config = config, .start_us = sb_mono_us()};
    sb_code_t code = rebuild(&replay, err);
    if (code == SB_OK) {
        sb_view_generation_prune(replay.pg, replay.definition, replay.number - 1);
        fill_report(&replay, report_out);
        sb_error_t ignored = SB_ERROR_INIT; /* it is done, whatever the listener says */
        sb_code_t told = enter_phase(&replay, SB_REPLAY_DONE, &ignored);
        (void)told;
        sb_log(SB_LOG_INFO, "REPLAY-DONE",
               "switched|view=%s generation=%" PRId64 " events=%" PRId64 " rows=%" PRId64, config->view,
               replay.number, report_out->events, report_out->rows);
    }
    if (replay.pg)
        sb_lease_release(&replay.lease, replay.pg);
    sb_lease_fini(&replay.lease);
    sb_view_batch_free(&replay.batch);
    sb_view_fold_free(&replay.fold);
    sb_view_type_map_fini(&replay.types);
    sb_view_definition_free(&replay.definition);
    sb_pg_close(&replay.pg);
    return code;
}
