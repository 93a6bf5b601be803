/* The story of one saga: its events are folded, and what the fold passes through is written down.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_number.h"
#include "saga/event_body.h"
#include "saga/query.h"
#include "saga/render.h"
#include "saga_sql.h"

#include <stdio.h>
#include <stdlib.h>

/* What a reader wants to know of one direction of a step. */
typedef struct leg {
    int64_t started_us;
    int64_t ended_us;
    int attempts;
} leg_t;

typedef struct step_story {
    leg_t leg[2]; /* by direction */
    sb_slice_t result;
    sb_slice_t error;
} step_story_t;

typedef struct story {
    const sb_pg_result_t *row;
    const sb_pg_result_t *events;
    sb_catalog_t *catalog;
    sb_definition_t *definition; /* NULL: nobody registered it */
    sb_saga_state_t state;
    step_story_t step[SB_STEPS_MAX];
    sb_slice_t error;
    int64_t ended_us;
    sb_buf_t texts; /* unescaped errors */
    sb_buf_t scratch;
} story_t;

/* ---- folding ---- */

static bool has_ended(sb_step_status_t status)
{
    return status == SB_STEP_COMPLETED || status == SB_STEP_FAILED || status == SB_STEP_UNKNOWN ||
           status == SB_STEP_SKIPPED;
}

/* What changed in a step by one event. */
static void note_step(step_story_t *story, const sb_step_state_t *before, const sb_step_state_t *after,
                      int64_t at_us)
{
    leg_t *forward = &story->leg[SB_FORWARD];
    leg_t *undo = &story->leg[SB_COMPENSATE];
    if (after->status == SB_STEP_DISPATCHED) {
        if (before->status != SB_STEP_DISPATCHED && forward->started_us == 0)
            forward->started_us = at_us;
        forward->attempts = after->attempt;
        forward->ended_us = 0;
    }
    if (after->status == SB_STEP_COMPENSATING) {
        if (before->status != SB_STEP_COMPENSATING)
            undo->started_us = at_us;
        undo->attempts = after->attempt;
    }
    if (has_ended(after->status) && before->status != after->status)
        forward->ended_us = at_us;
    if (after->status == SB_STEP_COMPENSATED && before->status != SB_STEP_COMPENSATED)
        undo->ended_us = at_us;
}

/* A copy that stays while further events are read. Errors are short and few. */
static sb_slice_t keep(story_t *story, sb_slice_t text)
{
    size_t at = story->texts.len;
    if (!story->texts.ptr || story->texts.cap - at <= text.len)
        return SB_SLICE_NONE;
    sb_buf_add_slice(&story->texts, text);
    return (sb_slice_t){story->texts.ptr + at, text.len};
}

static void note_event(story_t *story, const sb_saga_event_t *event)
{
    if (event->step >= 0 && event->result.ptr)
        story->step[event->step].result = event->result;
    if (event->error.len == 0 || event->kind == SB_SAGA_EV_ANOMALY)
        return;
    story->error = keep(story, event->error);
    if (event->step >= 0)
        story->step[event->step].error = story->error;
}

static sb_code_t read_event(story_t *story, int row, sb_saga_event_t *event, sb_error_t *err)
{
    const sb_event_type_t *type =
        sb_catalog_type_no(story->catalog, (int)sb_pg_get_int(story->events, row, 1));
    if (!type)
        return sb_fail(err, SB_CORRUPT, "an event of an unknown type");
    return sb_saga_event_read(story->definition, sb_slice(type->name), sb_pg_get_time(story->events, row, 2),
                              sb_pg_get_slice(story->events, row, 3), &story->scratch, event, err);
}

static sb_code_t fold(story_t *story, sb_error_t *err)
{
    size_t bytes = 1;
    for (int row = 0; row < sb_pg_rows(story->events); row++)
        bytes += sb_pg_get_slice(story->events, row, 3).len;
    if (!sb_buf_reserve(&story->texts, bytes))
        return sb_fail(err, SB_NO_MEMORY, "show a saga: out of memory");
    sb_saga_state_init(&story->state);
    for (int row = 0; row < sb_pg_rows(story->events); row++) {
        sb_saga_event_t event = {.step = -1};
        sb_saga_state_t before = story->state;
        sb_code_t code = read_event(story, row, &event, err);
        if (code == SB_OK)
            code = sb_machine_evolve(story->definition, &story->state, &event, err);
        if (code != SB_OK)
            return code;
        for (int i = 0; i < story->definition->step_count; i++)
            note_step(&story->step[i], &before.step[i], &story->state.step[i], event.at_us);
        note_event(story, &event);
        if (sb_saga_is_over(&story->state) && !sb_saga_is_over(&before))
            story->ended_us = event.at_us;
    }
    return SB_OK;
}

/* ---- writing ---- */

static void write_leg(sb_buf_t *out, const leg_t *leg)
{
    sb_render_int(out, "attempts", leg->attempts);
    sb_render_time(out, "started_at", leg->started_us);
    sb_render_time(out, "ended_at", leg->ended_us);
    if (leg->started_us && leg->ended_us)
        sb_render_int(out, "duration_ms", (leg->ended_us - leg->started_us) / 1000);
}

static void write_compensation(sb_buf_t *out, const step_story_t *step, const sb_step_state_t *state)
{
    if (step->leg[SB_COMPENSATE].started_us == 0) {
        sb_render_raw(out, "compensation", SB_SLICE_NONE);
        return;
    }
    sb_render_open(out, "compensation", '{');
    sb_render_text(out, "status", sb_slice(sb_step_status_name(state->status)));
    write_leg(out, &step->leg[SB_COMPENSATE]);
    sb_render_close(out, '}');
}

static void write_step(sb_buf_t *out, const story_t *story, int i)
{
    const step_story_t *step = &story->step[i];
    const sb_step_state_t *state = &story->state.step[i];
    bool is_open = state->status == SB_STEP_DISPATCHED || state->status == SB_STEP_COMPENSATING;
    sb_render_open(out, NULL, '{');
    sb_render_text(out, "name", sb_slice(story->definition->step[i].name));
    if (story->definition->step[i].title)
        sb_render_text(out, "title", sb_slice(story->definition->step[i].title));
    sb_render_text(out, "participant", sb_slice(story->definition->step[i].participant));
    sb_render_text(out, "status", sb_slice(sb_step_status_name(state->status)));
    write_leg(out, &step->leg[SB_FORWARD]);
    if (is_open && state->wake_us)
        sb_render_time(out, state->waiting ? "next_try_at" : "deadline_at", state->wake_us);
    if (state->attention)
        sb_render_bool(out, "attention", true);
    sb_render_raw(out, "result", step->result);
    sb_render_text(out, "error", step->error);
    write_compensation(out, step, state);
    sb_render_close(out, '}');
}

static void write_event(sb_buf_t *out, story_t *story, int row)
{
    sb_saga_event_t event = {.step = -1};
    if (read_event(story, row, &event, NULL) != SB_OK)
        return;
    sb_render_open(out, NULL, '{');
    sb_render_time(out, "at", event.at_us);
    sb_render_int(out, "version", sb_pg_get_int(story->events, row, 0));
    sb_render_text(out, "type", sb_slice(sb_saga_event_type(event.kind)));
    if (event.step >= 0) {
        sb_render_text(out, "step", sb_slice(story->definition->step[event.step].name));
        sb_render_text(out, "direction",
                       event.direction == SB_FORWARD ? SB_SLICE("forward") : SB_SLICE("compensate"));
        sb_render_int(out, "round", event.round);
        sb_render_int(out, "attempt", event.attempt);
    }
    if (event.unknown)
        sb_render_bool(out, "unknown", true);
    if (event.wake_us)
        sb_render_time(out, "next_try_at", event.wake_us);
    if (event.error.ptr)
        sb_render_text(out, "error", event.error);
    if (event.by.ptr)
        sb_render_text(out, "by", event.by);
    if (event.reason.ptr)
        sb_render_text(out, "reason", event.reason);
    sb_render_close(out, '}');
}

static void write_definition(sb_buf_t *out, const story_t *story)
{
    char text[SB_HASH_TEXT];
    sb_hash_t hash = {{0}};
    sb_slice_t bytes = sb_pg_get_slice(story->row, 0, 3);
    if (bytes.len == sizeof hash.byte)
        memcpy(hash.byte, bytes.ptr, sizeof hash.byte);
    sb_render_open(out, "definition", '{');
    sb_render_text(out, "name", sb_pg_get_slice(story->row, 0, 1));
    if (story->definition)
        sb_render_int(out, "version", story->definition->version);
    sb_render_text(out, "hash", sb_slice(sb_hash_format(&hash, text)));
    sb_render_close(out, '}');
}

/* The result of a saga is that of the last step that was done. */
static sb_slice_t result_of(const story_t *story)
{
    for (int i = story->definition->step_count - 1; i >= 0 && story->state.status == SB_SAGA_COMPLETED; i--)
        if (story->state.step[i].status == SB_STEP_COMPLETED && story->step[i].result.ptr)
            return story->step[i].result;
    return SB_SLICE_NONE;
}

static void write_story(sb_buf_t *out, story_t *story, bool history)
{
    char self[64];
    char text[SB_UUID_TEXT];
    sb_uuid_t id = sb_pg_get_uuid(story->row, 0, 0);
    int64_t started_us = sb_pg_get_time(story->row, 0, 4);
    const sb_saga_state_t *state = &story->state;
    sb_render_open(out, NULL, '{');
    sb_render_uuid(out, "id", &id);
    sb_render_text(out, "type", sb_pg_get_slice(story->row, 0, 1));
    sb_render_text(out, "key", sb_pg_get_slice(story->row, 0, 2));
    sb_render_text(out, "status", sb_slice(sb_saga_status_name(state->status)));
    sb_render_bool(out, "paused", state->paused);
    sb_render_bool(out, "attention", state->attention);
    write_definition(out, story);
    sb_render_time(out, "started_at", started_us);
    sb_render_time(out, "ended_at", story->ended_us);
    if (story->ended_us)
        sb_render_int(out, "duration_ms", (story->ended_us - started_us) / 1000);
    sb_render_text(out, "correlation_id", sb_pg_get_slice(story->row, 0, 6));
    sb_render_raw(out, "input", sb_pg_get_slice(story->row, 0, 5));
    sb_render_raw(out, "result", result_of(story));
    sb_render_text(out, "error", state->status == SB_SAGA_COMPLETED ? SB_SLICE_NONE : story->error);
    sb_render_open(out, "steps", '[');
    for (int i = 0; i < story->definition->step_count; i++)
        write_step(out, story, i);
    sb_render_close(out, ']');
    if (history) {
        sb_render_open(out, "history", '[');
        for (int row = 0; row < sb_pg_rows(story->events); row++)
            write_event(out, story, row);
        sb_render_close(out, ']');
    }
    (void)snprintf(self, sizeof self, "/v1/sagas/%s", sb_uuid_format(&id, text));
    sb_render_open(out, "links", '{');
    sb_render_text(out, "self", sb_slice(self));
    sb_render_close(out, '}');
    sb_render_close(out, '}');
}

/* ---- reading ---- */

static sb_code_t find_definition(sb_pg_t *pg, story_t *story, sb_error_t *err)
{
    sb_hash_t hash = {{0}};
    sb_slice_t bytes = sb_pg_get_slice(story->row, 0, 3);
    if (bytes.len == sizeof hash.byte)
        memcpy(hash.byte, bytes.ptr, sizeof hash.byte);
    const sb_artifact_t *artifact = sb_catalog_by_hash(story->catalog, SB_ARTIFACT_SAGA, &hash);
    if (!artifact) {
        sb_code_t ignored = sb_catalog_load(story->catalog, pg, NULL);
        (void)ignored; /* the look-up says whether that was enough */
        artifact = sb_catalog_by_hash(story->catalog, SB_ARTIFACT_SAGA, &hash);
    }
    if (!artifact)
        return sb_fail(err, SB_CORRUPT, "the saga's definition is not registered");
    return sb_definition_compile(&story->definition, artifact->body, err);
}

static sb_code_t read_rows(sb_pg_t *pg, const sb_uuid_t *id, sb_pg_result_t **row, sb_pg_result_t **events,
                           sb_error_t *err)
{
    int64_t no;
    char text[SB_UUID_TEXT];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (!sb_saga_number_of(id, &no))
        return sb_fail(err, SB_NOT_FOUND, "no saga %s", sb_uuid_format(id, text));
    sb_pg_add_int8(&params, no);
    sb_code_t code = sb_pg_query(pg, sb_sql_saga_row, &params, row, err);
    if (code != SB_OK)
        return code;
    sb_uuid_t found = sb_pg_rows(*row) == 1 ? sb_pg_get_uuid(*row, 0, 0) : (sb_uuid_t)SB_UUID_NIL;
    if (!sb_uuid_equal(&found, id))
        return sb_fail(err, SB_NOT_FOUND, "no saga %s", sb_uuid_format(id, text));
    return sb_pg_query(pg, sb_sql_saga_events, &params, events, err);
}

sb_code_t sb_saga_show(sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id, bool history, sb_buf_t *out,
                       sb_error_t *err)
{
    sb_pg_result_t *row = NULL;
    sb_pg_result_t *events = NULL;
    story_t *story = calloc(1, sizeof *story);
    if (!story)
        return sb_fail(err, SB_NO_MEMORY, "show a saga: out of memory");
    sb_code_t code = read_rows(pg, id, &row, &events, err);
    if (code == SB_OK) {
        *story = (story_t){.row = row, .events = events, .catalog = catalog};
        code = find_definition(pg, story, err);
    }
    if (code == SB_OK)
        code = fold(story, err);
    if (code == SB_OK)
        write_story(out, story, history);
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "show a saga: out of memory");
    sb_definition_free(&story->definition);
    sb_buf_fini(&story->texts);
    sb_buf_fini(&story->scratch);
    free(story);
    sb_pg_result_free(row);
    sb_pg_result_free(events);
    return code;
}
