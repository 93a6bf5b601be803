/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/story.h"

#include "events/saga_number.h"
#include "saga/child_key.h"
#include "saga/event_body.h"
#include "saga/query/query.h"
#include "saga_sql.h"

#include <stdlib.h>

/* ---- folding ---- */

static bool has_ended(sb_step_status_t status)
{
    return status == SB_STEP_COMPLETED || status == SB_STEP_FAILED || status == SB_STEP_UNKNOWN ||
           status == SB_STEP_SKIPPED;
}

/* What changed in a step by one event. */
static void note_step(sb_story_step_t *story, const sb_step_state_t *before, const sb_step_state_t *after,
                      int64_t at_us)
{
    sb_story_leg_t *forward = &story->leg[SB_FORWARD];
    sb_story_leg_t *undo = &story->leg[SB_COMPENSATE];
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
    /* One that ends without an outcome as the saga turns back is being undone by the same event. */
    bool left = before->status == SB_STEP_DISPATCHED && after->status != SB_STEP_DISPATCHED;
    if (left || (has_ended(after->status) && before->status != after->status))
        forward->ended_us = at_us;
    if (after->status == SB_STEP_COMPENSATED && before->status != SB_STEP_COMPENSATED)
        undo->ended_us = at_us;
}

/* A copy that stays while further events are read. Errors are short and few. */
static sb_slice_t keep(sb_story_t *story, sb_slice_t text)
{
    size_t at = story->texts.len;
    if (!story->texts.ptr || story->texts.cap - at <= text.len)
        return SB_SLICE_NONE;
    sb_buf_add_slice(&story->texts, text);
    return (sb_slice_t){story->texts.ptr + at, text.len};
}

static void note_act(sb_story_t *story, const sb_saga_event_t *event)
{
    bool back = event->kind == SB_SAGA_EV_COMPENSATING || event->kind == SB_SAGA_EV_REWINDING;
    bool pause = event->kind == SB_SAGA_EV_PAUSED || (event->kind == SB_SAGA_EV_REWINDING && event->pause);
    bool close = event->kind == SB_SAGA_EV_FAILED;
    if (!back && !pause && !close)
        return;
    sb_story_act_t act = {event->at_us, keep(story, event->by), keep(story, event->reason)};
    if (back)
        story->turned = act;
    if (pause)
        story->paused = act;
    if (close)
        story->closed = act;
}

static void note_event(sb_story_t *story, const sb_saga_event_t *event)
{
    note_act(story, event);
    if (event->kind == SB_SAGA_EV_ANOMALY)
        story->anomaly[event->step] = (sb_story_anomaly_t){
            event->at_us, event->direction, keep(story, event->reason), keep(story, event->error)};
    if (event->step >= 0 && event->result.ptr)
        story->step[event->step].result = event->result;
    for (int i = event->step; event->kind == SB_SAGA_EV_REWOUND && i < story->definition->step_count; i++)
        story->step[i] = (sb_story_step_t){.result = SB_SLICE_NONE}; /* what came before is in the history */
    if (event->error.len == 0 || event->kind == SB_SAGA_EV_ANOMALY)
        return;
    story->error = keep(story, event->error);
    story->error_step = event->step;
    story->error_us = event->at_us;
    if (event->step >= 0) {
        story->step[event->step].error = story->error;
        story->step[event->step].leg[event->direction].error = story->error;
    }
}

int sb_story_event_count(const sb_story_t *story)
{
    return sb_pg_rows(story->events);
}

sb_code_t sb_story_event(sb_story_t *story, int index, sb_saga_event_t *event, int *version, sb_error_t *err)
{
    const sb_event_type_t *type =
        sb_catalog_type_no(story->catalog, (int)sb_pg_get_int(story->events, index, 1));
    *event = (sb_saga_event_t){.step = -1};
    if (version)
        *version = (int)sb_pg_get_int(story->events, index, 0);
    if (!type)
        return sb_fail(err, SB_CORRUPT, "an event of an unknown type");
    return sb_saga_event_read(story->definition, sb_slice(type->name),
                              sb_pg_get_time(story->events, index, 2),
                              sb_pg_get_slice(story->events, index, 3), &story->scratch, event, err);
}

static sb_code_t fold(sb_story_t *story, sb_error_t *err)
{
    size_t bytes = 1;
    for (int row = 0; row < sb_pg_rows(story->events); row++)
        bytes += sb_pg_get_slice(story->events, row, 3).len;
    if (!sb_buf_reserve(&story->texts, bytes))
        return sb_fail(err, SB_NO_MEMORY, "read a saga: out of memory");
    sb_saga_state_init(&story->state);
    for (int row = 0; row < sb_pg_rows(story->events); row++) {
        sb_saga_event_t event;
        sb_saga_state_t before = story->state;
        sb_code_t code = sb_story_event(story, row, &event, NULL, err);
        if (code == SB_OK)
            code = sb_machine_evolve(story->definition, &story->state, &event, err);
        if (code != SB_OK)
            return code;
        for (int i = 0; i < story->definition->step_count; i++)
            note_step(&story->step[i], &before.step[i], &story->state.step[i], event.at_us);
        note_event(story, &event);
        if (sb_saga_is_over(&story->state) !=
            sb_saga_is_over(&before)) /* a child may be undone after its end */
            story->ended_us = sb_saga_is_over(&story->state) ? event.at_us : 0;
    }
    return SB_OK;
}

/* ---- reading ---- */

/* The sagas that are its steps, by their keys. */
static sb_code_t find_children(sb_story_t *story, sb_pg_t *pg, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; code == SB_OK && i < story->definition->step_count; i++) {
        const sb_step_definition_t *step = &story->definition->step[i];
        char key[SB_CHILD_KEY_MAX];
        if (!step->child || story->state.step[i].round == 0)
            continue;
        sb_child_key_write(&story->id, step->name, story->state.step[i].round, key);
        code = sb_saga_find(pg, sb_slice(step->child), sb_slice(key), &story->step[i].child, err);
        if (code == SB_NOT_FOUND) {
            sb_error_clear(err);
            code = SB_OK;
        }
    }
    return code;
}

static sb_code_t find_definition(sb_pg_t *pg, sb_story_t *story, sb_error_t *err)
{
    const sb_artifact_t *artifact =
        sb_catalog_by_hash(story->catalog, SB_ARTIFACT_SAGA, &story->definition_hash);
    if (!artifact) {
        sb_code_t ignored = sb_catalog_load(story->catalog, pg, NULL);
        (void)ignored; /* the look-up says whether that was enough */
        artifact = sb_catalog_by_hash(story->catalog, SB_ARTIFACT_SAGA, &story->definition_hash);
    }
    if (!artifact)
        return sb_fail(err, SB_CORRUPT, "the saga's definition is not registered");
    return sb_definition_compile(&story->definition, artifact->body, err);
}

static void take_row(sb_story_t *story)
{
    const sb_pg_result_t *row = story->row;
    sb_slice_t hash = sb_pg_get_slice(row, 0, 3);
    if (hash.len == sizeof story->definition_hash.byte)
        memcpy(story->definition_hash.byte, hash.ptr, hash.len);
    story->id = sb_pg_get_uuid(row, 0, 0);
    story->type = sb_pg_get_slice(row, 0, 1);
    story->key = sb_pg_get_slice(row, 0, 2);
    story->started_us = sb_pg_get_time(row, 0, 4);
    story->input = sb_pg_get_slice(row, 0, 5);
    story->correlation_id = sb_pg_get_slice(row, 0, 6);
}

static sb_code_t read_rows(sb_story_t *story, sb_pg_t *pg, const sb_uuid_t *id, sb_error_t *err)
{
    int64_t no;
    char text[SB_UUID_TEXT];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (!sb_saga_number_of(id, &no))
        return sb_fail(err, SB_NOT_FOUND, "no saga %s", sb_uuid_format(id, text));
    sb_pg_add_int8(&params, no);
    sb_code_t code = sb_pg_query(pg, sb_sql_saga_row, &params, &story->row, err);
    if (code != SB_OK)
        return code;
    if (sb_pg_rows(story->row) == 1)
        take_row(story);
    if (!sb_uuid_equal(&story->id, id))
        return sb_fail(err, SB_NOT_FOUND, "no saga %s", sb_uuid_format(id, text));
    return sb_pg_query(pg, sb_sql_saga_events, &params, &story->events, err);
}

sb_code_t sb_story_read(sb_story_t **out, sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id,
                        sb_error_t *err)
{
    *out = NULL;
    sb_story_t *story = calloc(1, sizeof *story);
    if (!story)
        return sb_fail(err, SB_NO_MEMORY, "read a saga: out of memory");
    story->catalog = catalog;
    story->error_step = -1;
    sb_code_t code = read_rows(story, pg, id, err);
    if (code == SB_OK)
        code = find_definition(pg, story, err);
    if (code == SB_OK)
        code = fold(story, err);
    if (code == SB_OK)
        code = find_children(story, pg, err);
    if (code == SB_OK)
        *out = story;
    else
        sb_story_free(&story);
    return code;
}

void sb_story_free(sb_story_t **story)
{
    sb_story_t *s = *story;
    if (!s)
        return;
    sb_definition_free(&s->definition);
    sb_buf_fini(&s->texts);
    sb_buf_fini(&s->scratch);
    sb_pg_result_free(s->row);
    sb_pg_result_free(s->events);
    free(s);
    *story = NULL;
}
