/* Read the history by COPY and fold it in memory, load the rows into the tables of the next generation, catch
 * up by batches, switch. Whatever fails before the switch leaves the live view as it is; what stands then of
 * the next generation is dropped by the replay after this one, which knows it by its missing row in
 * view_generation.
 *
 * Rows that do not fit into memory are folded part by part: when the cap is reached, the half of the keys is
 * dropped whose hash begins with the other bit, and waits for a pass of its own. The parts are of the same
 * events, so that together they are what one pass would have made.
 *
 * Two replays of a view exclude each other by the lease `replay:NAME`, which has no overdue time: a COPY of
 * an hour does not beat, and the lock is free when its connection is gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "base/clock.h"
#include "base/log.h"
#include "events/view/view_compare.h"
#include "events/view/view_history.h"
#include "events/view/view_load.h"
#include "events/view/view_statement.h"
#include "events/view/view_switch.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdlib.h>

#define NEVER_MS        (INT64_C(10) * 366 * 86400 * 1000)
#define REPORT_EVERY_US 200000
#define LOOK_EVERY      4096 /* events between looks at the clock */
#define MEMORY_BYTES    (INT64_C(192) << 20)
#define SLACK_BYTES     (2u << 20) /* blocks of rows are not smaller for a small cap */
#define STEP_BYTES      (96u << 10)
#define VIEWS_MAX       64
#define PARTS_MAX       (SB_VIEW_PART_BITS_MAX + 1) /* that wait: one a level */
#define DIFFERENCES     10
#define ASIDE_EVENTS    5000
#define BEHIND_MS       30000 /* for the live view to come to where the fold is */

/* A view that is rebuilt. */
typedef struct building {
    sb_lease_t lease; /* replay:NAME; its cursor is how far the next generation is */
    sb_view_definition_t *definition;
    sb_view_definition_t *live; /* of the live generation; NULL: there is none */
    sb_view_generation_t live_generation;
    sb_hash_t fingerprint;
    int64_t number;  /* of the next generation */
    int64_t retired; /* of the one before it */
    sb_view_fold_t *fold;
    sb_view_type_map_t types;
    sb_tally_t tally; /* of the next generation */
    sb_replay_report_t report;
} building_t;

typedef struct replay {
    const sb_replay_config_t *config;
    sb_pg_t *pg;
    sb_pg_t *reader; /* the snapshot of a comparison */
    building_t view[VIEWS_MAX];
    int view_count;
    const char *left_out; /* the last one that was */
    sb_view_history_t *history;
    int64_t end; /* how far the passes go */
    sb_view_budget_t budget;
    size_t cap, limit; /* of the budget; limit: when room is to be made next */
    size_t taken;      /* by rows that a pass is about, when room was made last */
    sb_view_part_t part;
    sb_view_part_t waiting[PARTS_MAX];
    int waiting_count;
    int passes; /* begun */
    sb_replay_progress_t progress;
    int64_t start_us;
    int64_t phase_us;
    int64_t read_us; /* spent reading and folding */
    int64_t reported_us;
    int64_t time_us;      /* of the newest event folded */
    sb_view_switch_t *at; /* the view that catches up */
    int64_t at_rows, at_events;
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
    p->pass = replay->passes;
    p->passes = replay->passes + replay->waiting_count;
    p->lag_ms = replay->time_us ? (sb_wall_us() - replay->time_us) / 1000 : 0;
    p->eta_s = 0;
    if (p->phase == SB_REPLAY_READ) {
        double share = p->seq_end > 0 ? (double)p->seq / (double)p->seq_end : 1;
        p->events_per_s = spent > 0 ? (double)p->events / spent : 0;
        p->events_total = share > 0 ? (int64_t)((double)p->events / share) : 0;
        p->eta_s = share > 0 ? spent / share * (1 + replay->waiting_count) - spent : 0;
    }
    return replay->config->on_progress ? replay->config->on_progress(replay->config->context, p, err) : SB_OK;
}

static sb_code_t report_now_and_then(replay_t *replay, sb_error_t *err)
{
    return sb_mono_us() - replay->reported_us > REPORT_EVERY_US ? report(replay, err) : SB_OK;
}

static sb_code_t enter_phase(replay_t *replay, sb_replay_phase_t phase, const char *view, sb_error_t *err)
{
    replay->progress.phase = phase;
    replay->progress.view = view;
    replay->phase_us = sb_mono_us();
    if (phase != SB_REPLAY_READ)
        replay->progress.events_total = replay->progress.events;
    return report(replay, err);
}

/* ---- read ---- */

static sb_code_t too_large(const replay_t *replay, const char *what, sb_error_t *err)
{
    return sb_fail(err, SB_TOO_LARGE, "replay of %s: %s more than the %zu MiB of memory that are allowed",
                   replay->config->view ? replay->config->view : "all views", what, replay->cap >> 20);
}

/* Half of the keys waits for another pass. */
static sb_code_t narrow(replay_t *replay, sb_error_t *err)
{
    sb_view_part_t *part = &replay->part;
    if (part->bits == SB_VIEW_PART_BITS_MAX || replay->waiting_count == PARTS_MAX)
        return too_large(replay, "the rows of a few keys need", err);
    part->bits++;
    part->value <<= 1;
    replay->waiting[replay->waiting_count++] = (sb_view_part_t){part->bits, part->value | 1};
    for (int i = 0; i < replay->view_count; i++)
        sb_view_fold_narrow(replay->view[i].fold, part);
    return SB_OK;
}

/* The budget does not fall by it, but the room of what is dropped is used again before more is taken. What
 * the carry takes does not become less by passes. */
static sb_code_t make_room(replay_t *replay, sb_error_t *err)
{
    size_t carried = 0;
    size_t step = replay->cap / 64 > STEP_BYTES ? replay->cap / 64 : STEP_BYTES;
    sb_code_t code = SB_OK;
    for (int i = 0; i < replay->view_count; i++) {
        const sb_view_definition_t *definition = replay->view[i].definition;
        if (definition->carry >= 0)
            carried += sb_view_fold_rows(replay->view[i].fold, definition->carry)->bytes;
    }
    if (carried > replay->cap * 5 / 4 + SLACK_BYTES)
        return too_large(replay, "what is carried needs", err);
    if (replay->budget.used - carried > replay->taken) {
        code = narrow(replay, err);
        replay->taken = replay->budget.used - carried + step;
    }
    replay->limit = replay->budget.used + step;
    return code;
}

/* The generation is not live, so that nobody compares yet. */
static sb_code_t flush_tally(replay_t *replay, building_t *view, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_view_role(role, view->definition->name);
    return sb_tally_flush(&view->tally, replay->pg, &view->lease, role, view->number, err);
}

static sb_code_t count_event(replay_t *replay, building_t *view, int64_t seq, sb_error_t *err)
{
    if (sb_tally_add(&view->tally, seq, 1))
        return SB_OK;
    sb_code_t code = flush_tally(replay, view, err);
    (void)sb_tally_add(&view->tally, seq, 1);
    return code;
}

static sb_code_t fold_event(replay_t *replay, building_t *view, const sb_view_record_t *record,
                            sb_error_t *err)
{
    sb_view_input_t input = {.seq = record->seq,
                             .time_us = record->time_us,
                             .stream = record->stream_no,
                             .subject = record->subject,
                             .data = record->data};
    if (sb_view_is_by_sql(view->definition))
        return SB_OK; /* its turn comes after the pass */
    sb_code_t code = sb_view_type_map_find(&view->types, view->definition, replay->config->catalog,
                                           record->type_no, &input.event, err);
    if (code != SB_OK || input.event < 0)
        return code;
    code = sb_view_type_map_upcast(&view->types, view->definition, record->type_no, &input, err);
    if (code == SB_OK)
        code = sb_view_fold_apply(view->fold, &input, err);
    view->report.events += replay->passes == 1;
    return code;
}

static sb_code_t on_record(void *context, const sb_view_record_t *record, sb_error_t *err)
{
    replay_t *replay = context;
    sb_code_t code = SB_OK;
    for (int i = 0; i < replay->view_count && code == SB_OK; i++) {
        building_t *view = &replay->view[i];
        int64_t before = view->report.events;
        code = fold_event(replay, view, record, err);
        if (code == SB_OK && view->report.events > before && replay->config->mode == SB_REPLAY_BUILD)
            code = count_event(replay, view, record->seq, err);
    }
    if (code == SB_OK && replay->budget.used > replay->limit)
        code = make_room(replay, err);
    replay->time_us = record->time_us;
    replay->progress.seq = record->seq;
    if (++replay->progress.events % LOOK_EVERY == 0 && code == SB_OK)
        code = report_now_and_then(replay, err);
    return code;
}

static sb_code_t add_type(replay_t *replay, const sb_pg_result_t *result, int row, sb_buf_t *out,
                          sb_error_t *err)
{
    int type_no = (int)sb_pg_get_int(result, row, 0);
    sb_code_t code = SB_OK;
    for (int i = 0; i < replay->view_count && code == SB_OK; i++) {
        int event;
        building_t *view = &replay->view[i];
        code = sb_view_type_map_find(&view->types, view->definition, replay->config->catalog, type_no, &event,
                                     err);
    }
    if (code == SB_NOT_FOUND)
        code = sb_fail(err, SB_UNSUPPORTED, "event type %s has a version that is not known here",
                       sb_pg_get_text(result, row, 1));
    sb_buf_printf(out, "%s%d", row ? "," : "", type_no);
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
    for (int v = 0; v < replay->view_count; v++)
        for (int i = 0; i < replay->view[v].definition->event_count; i++)
            sb_pg_array_add_slice(&names, sb_slice(replay->view[v].definition->event[i].name));
    sb_pg_add_array(&params, &names);
    sb_code_t code = sb_pg_query(replay->pg, sb_sql_view_type_nos, &params, &result, err);
    if (code == SB_OK)
        code = sb_catalog_load(replay->config->catalog, replay->pg, err);
    sb_buf_add_char(out, '{');
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++)
        code = add_type(replay, result, i, out, err);
    sb_buf_add_char(out, '}');
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "replay: out of memory");
    sb_pg_result_free(result);
    sb_pg_array_fini(&names);
    return code;
}

static sb_code_t history_whole(replay_t *replay, sb_error_t *err)
{
    return sb_view_history_whole(replay->pg, replay->view[0].definition->name, 0, err);
}

/* Views by SQL are folded where their rows are. */
static bool reads_history(const replay_t *replay)
{
    for (int i = 0; i < replay->view_count; i++)
        if (!sb_view_is_by_sql(replay->view[i].definition))
            return true;
    return false;
}

/* One pass over the history. */
static sb_code_t read_pass(replay_t *replay, sb_error_t *err)
{
    replay->passes++;
    replay->limit = replay->cap;
    replay->taken = replay->cap / 8; /* beside whatever is carried */
    replay->progress.events = 0;
    replay->progress.seq = 0;
    replay->progress.seq_end = replay->end;
    for (int i = 0; i < replay->view_count; i++)
        sb_view_fold_begin(replay->view[i].fold, &replay->part, (size_t)replay->view[i].report.parked);
    sb_code_t code = enter_phase(replay, SB_REPLAY_READ,
                                 replay->view_count == 1 ? replay->view[0].definition->name : NULL, err);
    if (code == SB_OK && reads_history(replay))
        code = sb_view_history_read(replay->history, 0, replay->end, on_record, replay, err);
    if (code == SB_OK) /* nothing was taken away while it was read */
        code = history_whole(replay, err);
    replay->progress.seq = replay->end;
    replay->read_us += sb_mono_us() - replay->phase_us;
    for (int i = 0; i < replay->view_count; i++)
        replay->view[i].lease.cursor = sb_view_is_by_sql(replay->view[i].definition) ? 0 : replay->end;
    return code;
}

/* ---- what becomes of a pass ---- */

static int64_t count_rows(const building_t *view)
{
    int64_t count = 0;
    for (int t = 0; t < view->definition->table_count; t++) {
        const sb_view_rows_t *rows = sb_view_fold_rows(view->fold, t);
        for (size_t k = 0; k < rows->count; k++)
            count += sb_view_rows_at(rows, k)->present;
    }
    return count;
}

static sb_code_t on_rows(void *context, int64_t rows, sb_error_t *err)
{
    replay_t *replay = context;
    replay->progress.rows += rows;
    return report_now_and_then(replay, err);
}

static sb_code_t load(replay_t *replay, building_t *view, sb_error_t *err)
{
    const sb_view_load_t config = {.pg = replay->pg,
                                   .lease = &view->lease,
                                   .definition = view->definition,
                                   .generation = view->number,
                                   .fold = view->fold,
                                   .first = replay->passes == 1,
                                   .last = replay->waiting_count == 0 || sb_view_is_by_sql(view->definition),
                                   .on_rows = on_rows,
                                   .context = replay};
    replay->progress.rows = view->report.rows;
    sb_code_t code = enter_phase(replay, SB_REPLAY_LOAD, view->definition->name, err);
    if (code == SB_OK)
        code = sb_view_load_run(&config, err);
    view->report.rows = replay->progress.rows;
    if (code == SB_OK && config.last)
        code = sb_view_load_analyze(replay->pg, view->definition, view->number, err);
    return code;
}

/* ---- comparison ---- */

static sb_code_t begin_snapshot(replay_t *replay, building_t *view, int64_t *seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_script(replay->reader, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", err);
    sb_pg_add_text(&params, view->definition->name);
    if (code == SB_OK)
        code = sb_pg_query(replay->reader, sb_sql_view_state, &params, &result, err);
    if (code == SB_OK &&
        (sb_pg_rows(result) == 0 || sb_pg_get_int(result, 0, 0) != view->live_generation.number))
        code =
            sb_fail(err, SB_CONFLICT, "view %s was switched meanwhile; start again", view->definition->name);
    if (code == SB_OK)
        *seq = sb_pg_get_int(result, 0, 2);
    sb_pg_result_free(result);
    return code;
}

/* A snapshot in which the live view is not behind the fold. */
static sb_code_t find_snapshot(replay_t *replay, building_t *view, int64_t *seq, sb_error_t *err)
{
    int64_t until_us = sb_mono_us() + BEHIND_MS * INT64_C(1000);
    for (;;) {
        sb_code_t code = begin_snapshot(replay, view, seq, err);
        if (code != SB_OK || *seq >= replay->end)
            return code;
        sb_pg_rollback(replay->reader);
        if (sb_mono_us() > until_us)
            return sb_fail(err, SB_UNAVAILABLE,
                           "view %s is at seq %" PRId64 " and the history at %" PRId64
                           ": nothing moves it (does `sagabus serve` run?)",
                           view->definition->name, *seq, replay->end);
        code = report_now_and_then(replay, err);
        if (code != SB_OK)
            return code;
        sb_sleep_ms(50);
    }
}

typedef struct extension {
    replay_t *replay;
    building_t *view;
} extension_t;

static sb_code_t on_later_record(void *context, const sb_view_record_t *record, sb_error_t *err)
{
    extension_t *extension = context;
    replay_t *replay = extension->replay;
    int64_t before = extension->view->report.events;
    sb_code_t code = fold_event(replay, extension->view, record, err);
    extension->view->report.events = before;
    return code;
}

/* ---- views by SQL ---- */

/* Folds the history up to seq into tables that are undone again, and takes their rows into memory. */
static sb_code_t fold_aside(replay_t *replay, building_t *view, int64_t seq, sb_error_t *err)
{
    sb_view_batch_t *batch = NULL;
    sb_lease_t place = {.cursor = 0};
    sb_view_batch_result_t done = {.events = 0};
    sb_view_batch_config_t config = {.pg = replay->pg,
                                     .catalog = replay->config->catalog,
                                     .definition = view->definition,
                                     .events_max = ASIDE_EVENTS,
                                     .loose = true};
    sb_code_t code = sb_pg_begin(replay->pg, err);
    if (code == SB_OK)
        code = sb_view_statements_make(replay->pg, view->definition, 0, err);
    if (code == SB_OK)
        code = sb_view_batch_new(&batch, &config, err);
    view->report.events = view->report.parked = 0;
    while (code == SB_OK && place.cursor < seq) {
        code = sb_view_batch_run(batch, &place, seq, &done, err);
        if (code == SB_OK && done.waits_for[0])
            code = sb_fail(err, SB_UNSUPPORTED, "%s", done.waits_for);
        view->report.events += done.events;
        view->report.parked += done.parked;
        replay->progress.events = view->report.events;
        replay->progress.seq = place.cursor;
        if (code == SB_OK)
            code = report_now_and_then(replay, err);
    }
    if (code == SB_OK)
        code = sb_view_statements_read(replay->pg, view->definition, 0, replay->cap, view->fold, err);
    if (sb_pg_is_open(replay->pg))
        sb_pg_rollback(replay->pg);
    sb_view_batch_free(&batch);
    return code;
}

/* Brings the fold, whose rows are loaded already, to where the live view is, and compares. */
static sb_code_t compare(replay_t *replay, building_t *view, sb_error_t *err)
{
    static const sb_view_part_t whole = {0, 0};
    extension_t extension = {replay, view};
    int64_t seq = 0;
    const sb_view_comparing_t config = {
        .pg = replay->reader,
        .live = view->live,
        .other = view->definition,
        .generation = view->live_generation.number,
        .fold = view->fold,
        .part = sb_view_is_by_sql(view->definition) ? &whole : &replay->part,
        .differences_max = replay->config->differences_max ? replay->config->differences_max : DIFFERENCES,
        .on_difference = replay->config->on_difference,
        .context = replay->config->context,
        .result = &view->report.comparison};
    if (!view->live)
        return SB_OK;
    sb_code_t code = find_snapshot(replay, view, &seq, err);
    if (code == SB_OK && sb_view_is_by_sql(view->definition))
        code = fold_aside(replay, view, seq, err);
    else if (code == SB_OK)
        code = sb_view_history_read(replay->history, replay->end, seq, on_later_record, &extension, err);
    if (code == SB_OK)
        code = sb_view_compare_run(&config, err);
    if (sb_pg_is_open(replay->reader))
        sb_pg_rollback(replay->reader);
    view->report.comparison.done = code == SB_OK;
    view->report.comparison.seq = seq;
    return code;
}

static sb_code_t build_until(replay_t *replay, building_t *view, sb_error_t *err);

/* In the first pass: its tables, empty, which are filled while the view catches up; and what is asked of its
 * rows. */
static sb_code_t end_by_sql(replay_t *replay, building_t *view, sb_error_t *err)
{
    bool builds = replay->config->mode == SB_REPLAY_BUILD;
    sb_code_t code = SB_OK;
    if (replay->passes > 1)
        return SB_OK;
    if (replay->config->diff)
        code = compare(replay, view, err);
    else if (!builds)
        code = fold_aside(replay, view, replay->end, err);
    if (code == SB_OK && !builds)
        view->report.rows = count_rows(view);
    sb_view_fold_reset(view->fold);
    if (code != SB_OK || !builds)
        return code;
    view->report.events = view->report.parked = 0;
    code = load(replay, view, err);
    return code == SB_OK && replay->config->until_seq > 0 ? build_until(replay, view, err) : code;
}

static sb_code_t end_pass(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < replay->view_count && code == SB_OK; i++) {
        building_t *view = &replay->view[i];
        if (sb_view_is_by_sql(view->definition)) {
            code = end_by_sql(replay, view, err);
            continue;
        }
        view->report.parked += (int64_t)sb_view_fold_parked_count(view->fold);
        if (replay->config->mode == SB_REPLAY_BUILD)
            code = load(replay, view, err);
        else
            view->report.rows += count_rows(view);
        if (code == SB_OK && replay->config->diff)
            code = compare(replay, view, err);
    }
    return code;
}

static sb_code_t run_passes(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    replay->waiting[replay->waiting_count++] = (sb_view_part_t){0, 0};
    while (replay->waiting_count > 0 && code == SB_OK) {
        replay->part = replay->waiting[--replay->waiting_count];
        code = read_pass(replay, err);
        if (code == SB_OK)
            code = end_pass(replay, err);
    }
    for (int i = 0; i < replay->view_count; i++)
        sb_view_fold_free(&replay->view[i].fold);
    sb_view_history_close(&replay->history);
    return code;
}

/* ---- catch up and switch ---- */

static sb_code_t on_step(void *context, sb_error_t *err)
{
    replay_t *replay = context;
    const sb_view_switch_t *at = replay->at;
    replay->progress.events = replay->at_events + at->events;
    replay->progress.rows = replay->at_rows + at->rows;
    replay->progress.seq = at->lease->cursor;
    replay->progress.seq_end = at->seq_end;
    return report_now_and_then(replay, err);
}

/* A view by SQL as of an event; it is not switched to. */
static sb_code_t build_until(replay_t *replay, building_t *view, sb_error_t *err)
{
    sb_view_switch_t s = {.pg = replay->pg,
                          .catalog = replay->config->catalog,
                          .lease = &view->lease,
                          .definition = view->definition,
                          .generation = view->number,
                          .on_step = on_step,
                          .context = replay};
    replay->at = &s;
    replay->at_events = replay->at_rows = 0;
    sb_code_t code = sb_view_switch_to(&s, replay->end, err);
    sb_view_switch_fini(&s);
    replay->at = NULL;
    view->report.events = s.events;
    view->report.rows = s.rows;
    view->report.parked = s.parked;
    return code;
}

static sb_code_t switch_view(replay_t *replay, building_t *view, sb_error_t *err)
{
    sb_view_switch_t s = {.pg = replay->pg,
                          .catalog = replay->config->catalog,
                          .lease = &view->lease,
                          .definition = view->definition,
                          .fingerprint = &view->fingerprint,
                          .generation = view->number,
                          .on_step = on_step,
                          .context = replay,
                          .tally = view->tally};
    replay->at = &s;
    replay->at_events = replay->progress.events = view->report.events;
    replay->at_rows = replay->progress.rows = view->report.rows;
    sb_code_t code = enter_phase(replay, SB_REPLAY_CATCH_UP, view->definition->name, err);
    if (code == SB_OK)
        code = sb_view_switch_near(&s, err);
    if (code == SB_OK)
        code = enter_phase(replay, SB_REPLAY_SWITCH, view->definition->name, err);
    if (code == SB_OK)
        code = sb_view_switch_live(&s, err);
    sb_view_switch_fini(&s);
    replay->at = NULL;
    if (code != SB_OK)
        return code;
    view->retired = s.retired;
    view->report.live = true;
    view->report.events += s.events;
    view->report.rows += s.rows;
    view->report.parked += s.parked;
    return SB_OK;
}

/* ---- the whole ---- */

static sb_code_t add_name(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    sb_buf_t *names = context;
    (void)err;
    sb_buf_printf(names, "%s%s", names->len ? ", " : "", artifact->name);
    return SB_OK;
}

static sb_code_t not_found(const replay_t *replay, sb_error_t *err)
{
    sb_buf_t names = SB_BUF_INIT;
    sb_code_t code = sb_catalog_each(replay->config->catalog, SB_ARTIFACT_VIEW, add_name, &names, err);
    if (code == SB_OK && !replay->config->view)
        code = sb_fail(err, SB_NOT_FOUND, "no view %sis registered",
                       replay->left_out ? "that this program can fold " : "");
    else if (code == SB_OK)
        code = sb_fail(err, SB_NOT_FOUND, "no view %s is registered; there are: %s", replay->config->view,
                       names.len ? sb_buf_text(&names) : "none");
    sb_buf_fini(&names);
    return code;
}

/* Of all views those are left out that another program folds. */
static bool leaves_out(const replay_t *replay, const sb_view_definition_t *definition)
{
    sb_error_t why = SB_ERROR_INIT;
    if (replay->config->view)
        return false;
    if (sb_view_foldable(definition, &why) == SB_OK)
        return replay->config->calls_only && !definition->fold;
    if (!replay->config->calls_only)
        sb_log(SB_LOG_WARN, "REPLAY-LEFT-OUT", "%s", why.message);
    return true;
}

static sb_code_t add_view(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    replay_t *replay = context;
    sb_slice_t name = sb_slice(artifact->name);
    if (replay->config->view && strcmp(replay->config->view, artifact->name) != 0)
        return SB_OK;
    if (replay->view_count > 0 &&
        strcmp(replay->view[replay->view_count - 1].definition->name, artifact->name) == 0)
        return SB_OK; /* another version */
    if (replay->left_out && strcmp(replay->left_out, artifact->name) == 0)
        return SB_OK;
    if (replay->view_count == VIEWS_MAX)
        return sb_fail(err, SB_TOO_LARGE, "more than %d views", VIEWS_MAX);
    building_t *view = &replay->view[replay->view_count];
    sb_code_t code = sb_view_generation_live(replay->pg, artifact->name, &view->live_generation, err);
    bool verify = replay->config->mode == SB_REPLAY_VERIFY;
    if (code == SB_OK && verify && view->live_generation.number == 0)
        return replay->config->view
                   ? sb_fail(err, SB_NOT_FOUND, "view %s was never projected", artifact->name)
                   : SB_OK;
    if (code == SB_OK)
        code = sb_view_registered(replay->config->catalog, name, verify ? view->live_generation.version : 0,
                                  &view->definition, &view->fingerprint, err);
    if (code == SB_OK && leaves_out(replay, view->definition)) {
        replay->left_out = artifact->name;
        sb_view_definition_free(&view->definition);
        return SB_OK;
    }
    if (code == SB_OK)
        code = sb_view_foldable(view->definition, err);
    if (code != SB_OK) {
        sb_view_definition_free(&view->definition);
        return code;
    }
    replay->view_count++;
    if (replay->config->diff && view->live_generation.number > 0)
        code = sb_view_registered(replay->config->catalog, name, view->live_generation.version, &view->live,
                                  NULL, err);
    return code;
}

static sb_code_t claim(replay_t *replay, building_t *view, sb_error_t *err)
{
    const char *owner = replay->config->owner ? replay->config->owner : "replay";
    char role[SB_LEASE_ROLE_MAX];
    sb_view_replay_role(role, view->definition->name);
    sb_lease_init(&view->lease, role);
    sb_code_t code = sb_lease_acquire(&view->lease, replay->pg, owner, NEVER_MS, err);
    if (code == SB_BUSY)
        return sb_fail(err, SB_BUSY, "another replay of view %s is running", view->definition->name);
    if (code == SB_OK)
        code = sb_view_generation_claim(replay->pg, view->definition, err);
    if (code == SB_OK)
        code = sb_view_generation_sweep(replay->pg, view->definition->name, err);
    if (code == SB_OK)
        code = sb_view_generation_last(replay->pg, view->definition->name, &view->number, err);
    view->number++;
    if (code == SB_OK)
        code = sb_view_batch_count(replay->pg, view->definition, view->number, 0, err);
    return code;
}

static sb_code_t open_fold(replay_t *replay, building_t *view, sb_error_t *err)
{
    sb_code_t code = sb_view_fold_new(&view->fold, view->definition, 0, err);
    if (code == SB_OK)
        sb_view_fold_share(view->fold, &replay->budget);
    view->report.version = view->definition->version;
    return code;
}

/* What a comparison needs is no further than the live view, so that it need not be waited for. */
static sb_code_t find_end(replay_t *replay, sb_error_t *err)
{
    sb_code_t code = sb_view_safe_seq(replay->pg, &replay->end, err);
    int64_t until = replay->config->until_seq;
    if (until > 0 && until < replay->end)
        replay->end = until;
    for (int i = 0; i < replay->view_count && replay->config->diff && code == SB_OK; i++) {
        building_t *view = &replay->view[i];
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_result_t *result = NULL;
        sb_pg_add_text(&params, view->definition->name);
        code = sb_pg_query(replay->pg, sb_sql_view_state, &params, &result, err);
        if (code == SB_OK && sb_pg_rows(result) > 0 && sb_pg_get_int(result, 0, 2) < replay->end)
            replay->end = sb_pg_get_int(result, 0, 2);
        sb_pg_result_free(result);
    }
    return code == SB_OK ? history_whole(replay, err) : code;
}

static sb_code_t open_history(replay_t *replay, sb_buf_t *numbers, sb_error_t *err)
{
    sb_view_history_config_t config = {.pg_uri = replay->config->pg_uri,
                                       .jobs = replay->config->jobs,
                                       .range_seqs = replay->config->range_seqs};
    for (int i = 0; i < replay->view_count; i++)
        config.reads_subject |= replay->view[i].definition->reads_subject;
    sb_code_t code = type_numbers(replay, numbers, err);
    config.type_nos = sb_buf_text(numbers);
    return code == SB_OK ? sb_view_history_open(&replay->history, &config, err) : code;
}

static sb_code_t connect(replay_t *replay, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = replay->config->pg_uri,
                             .application_name = "sagabus-replay",
                             .idle_in_transaction_ms = 60000,
                             .statement_timeout_ms = UINT32_MAX};
    sb_code_t code = sb_pg_open(&replay->pg, &config, err);
    if (code == SB_OK && replay->config->diff)
        code = sb_pg_open(&replay->reader, &config, err);
    return code;
}

static sb_code_t prepare(replay_t *replay, sb_buf_t *numbers, sb_error_t *err)
{
    sb_catalog_t *catalog = replay->config->catalog;
    sb_code_t code = connect(replay, err);
    if (code == SB_OK)
        code = sb_catalog_load(catalog, replay->pg, err);
    if (code == SB_OK)
        code = sb_catalog_each(catalog, SB_ARTIFACT_VIEW, add_view, replay, err);
    if (code == SB_OK && replay->view_count == 0)
        code = not_found(replay, err);
    for (int i = 0; i < replay->view_count && code == SB_OK; i++) {
        if (replay->config->mode == SB_REPLAY_BUILD)
            code = claim(replay, &replay->view[i], err);
        if (code == SB_OK)
            code = open_fold(replay, &replay->view[i], err);
    }
    if (code == SB_OK)
        code = find_end(replay, err);
    return code == SB_OK ? open_history(replay, numbers, err) : code;
}

static void tell(replay_t *replay, building_t *view, sb_replay_report_t *out)
{
    sb_replay_report_t *r = &view->report;
    r->generation = replay->config->mode == SB_REPLAY_BUILD ? view->number : 0;
    r->seq = replay->config->mode == SB_REPLAY_BUILD ? view->lease.cursor : replay->end;
    r->passes = replay->passes;
    r->seconds = seconds_since(replay->start_us);
    r->read_seconds = (double)replay->read_us / 1e6;
    r->events_per_s = r->seconds > 0 ? (double)r->events / r->seconds : 0;
    *out = *r;
    if (r->live)
        sb_log(SB_LOG_INFO, "REPLAY-DONE",
               "switched|view=%s generation=%" PRId64 " events=%" PRId64 " rows=%" PRId64 " passes=%d",
               view->definition->name, r->generation, r->events, r->rows, r->passes);
    if (replay->config->on_report)
        replay->config->on_report(replay->config->context, view->definition->name, r);
}

static sb_code_t finish_view(replay_t *replay, building_t *view, sb_replay_report_t *out, sb_error_t *err)
{
    bool switches = replay->config->mode == SB_REPLAY_BUILD && replay->config->until_seq == 0;
    sb_code_t code = switches ? switch_view(replay, view, err) : SB_OK;
    if (code != SB_OK)
        return code;
    if (switches && !replay->config->keep_old)
        sb_view_generation_prune(replay->pg, view->definition, view->retired);
    tell(replay, view, out);
    return SB_OK;
}

static void close_view(replay_t *replay, building_t *view)
{
    if (replay->pg && view->lease.epoch)
        sb_lease_release(&view->lease, replay->pg);
    sb_lease_fini(&view->lease);
    sb_view_fold_free(&view->fold);
    sb_view_type_map_fini(&view->types);
    sb_view_definition_free(&view->definition);
    sb_view_definition_free(&view->live);
}

static sb_code_t check_config(const sb_replay_config_t *config, sb_error_t *err)
{
    if (config->until_seq > 0 && config->diff)
        return sb_fail(err, SB_INVALID,
                       "a view as of an event in the past is not compared with the live one");
    return SB_OK;
}

sb_code_t sb_replay_run(const sb_replay_config_t *given, sb_replay_report_t *report_out, sb_error_t *err)
{
    sb_replay_config_t config = *given;
    config.diff |= config.mode == SB_REPLAY_VERIFY;
    sb_code_t code = check_config(&config, err);
    if (code != SB_OK)
        return code;
    replay_t *replay = calloc(1, sizeof *replay);
    if (!replay)
        return sb_fail(err, SB_NO_MEMORY, "replay: out of memory");
    sb_buf_t numbers = SB_BUF_INIT;
    replay->config = &config;
    replay->start_us = sb_mono_us();
    replay->cap = (size_t)(config.memory_bytes ? config.memory_bytes : MEMORY_BYTES);
    replay->budget.max = SIZE_MAX / 2; /* on_record sees to the cap, between two events */
    code = prepare(replay, &numbers, err);
    if (code == SB_OK)
        code = run_passes(replay, err);
    for (int i = 0; i < replay->view_count && code == SB_OK; i++)
        code = finish_view(replay, &replay->view[i], report_out, err);
    if (code == SB_OK) {
        sb_error_t ignored = SB_ERROR_INIT; /* it is done, whatever the listener says */
        sb_code_t told = enter_phase(replay, SB_REPLAY_DONE, replay->progress.view, &ignored);
        (void)told;
    }
    sb_view_history_close(&replay->history);
    for (int i = 0; i < replay->view_count; i++)
        close_view(replay, &replay->view[i]);
    sb_pg_close(&replay->reader);
    sb_pg_close(&replay->pg);
    sb_buf_fini(&numbers);
    free(replay);
    return code;
}
