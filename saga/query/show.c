/* A saga as the API shows it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/child_key.h"
#include "saga/query/query.h"
#include "saga/query/render.h"
#include "saga/query/story.h"
#include "saga/result.h"

#include <stdio.h>

static void write_leg(sb_buf_t *out, const sb_story_leg_t *leg)
{
    sb_render_int(out, "attempts", leg->attempts);
    sb_render_time(out, "started_at", leg->started_us);
    sb_render_time(out, "ended_at", leg->ended_us);
    if (leg->started_us && leg->ended_us)
        sb_render_int(out, "duration_ms", (leg->ended_us - leg->started_us) / 1000);
}

static void write_compensation(sb_buf_t *out, const sb_story_step_t *step, const sb_step_state_t *state)
{
    if (step->leg[SB_COMPENSATE].started_us == 0) {
        sb_render_raw(out, "compensation", SB_SLICE_NONE);
        return;
    }
    sb_render_open(out, "compensation", '{');
    sb_render_text(out, "status", sb_slice(sb_step_status_name(state->status)));
    write_leg(out, &step->leg[SB_COMPENSATE]);
    sb_render_text(out, "error", step->leg[SB_COMPENSATE].error);
    sb_render_close(out, '}');
}

static void write_anomaly(sb_buf_t *out, const sb_story_anomaly_t *anomaly)
{
    if (anomaly->at_us == 0)
        return;
    sb_render_open(out, "anomaly", '{');
    sb_render_time(out, "at", anomaly->at_us);
    sb_render_direction(out, anomaly->direction);
    sb_render_text(out, "reason", anomaly->reason);
    sb_render_text(out, "error", anomaly->error);
    sb_render_close(out, '}');
}

static void write_link(sb_buf_t *out, const sb_uuid_t *id)
{
    char href[64], text[SB_UUID_TEXT];
    sb_render_uuid(out, "id", id);
    (void)snprintf(href, sizeof href, "/v1/sagas/%s", sb_uuid_format(id, text));
    sb_render_text(out, "href", sb_slice(href));
}

/* The saga that is the step. */
static void write_child(sb_buf_t *out, const sb_step_definition_t *definition, const sb_story_step_t *step)
{
    sb_render_open(out, "saga", '{');
    sb_render_text(out, "type", sb_slice(definition->child));
    if (!sb_uuid_is_nil(&step->child))
        write_link(out, &step->child);
    sb_render_close(out, '}');
}

/* The saga that this one is a step of. */
static void write_parent(sb_buf_t *out, const sb_story_t *story)
{
    sb_uuid_t parent;
    sb_slice_t step;
    uint16_t round;
    if (!sb_child_key_read(story->key, &parent, &step, &round))
        return;
    sb_render_open(out, "parent", '{');
    write_link(out, &parent);
    sb_render_text(out, "step", step);
    sb_render_close(out, '}');
}

static void write_step(sb_buf_t *out, const sb_story_t *story, int i)
{
    const sb_story_step_t *step = &story->step[i];
    const sb_step_state_t *state = &story->state.step[i];
    bool is_open = state->status == SB_STEP_DISPATCHED || state->status == SB_STEP_COMPENSATING;
    sb_render_open(out, NULL, '{');
    sb_render_text(out, "name", sb_slice(story->definition->step[i].name));
    if (story->definition->step[i].title)
        sb_render_text(out, "title", sb_slice(story->definition->step[i].title));
    sb_render_text(out, "participant", sb_slice(story->definition->step[i].participant));
    if (story->definition->step[i].child)
        write_child(out, &story->definition->step[i], step);
    sb_render_text(out, "status", sb_slice(sb_step_status_name(state->status)));
    write_leg(out, &step->leg[SB_FORWARD]);
    if (is_open && state->wake_us && !story->definition->step[i].child)
        sb_render_time(out, state->waiting ? "next_try_at" : "deadline_at", state->wake_us);
    if (state->attention)
        sb_render_bool(out, "attention", true);
    if (state->was_unknown) /* it may have happened: no answer said so, or that it did not */
        sb_render_bool(out, "unknown", true);
    write_anomaly(out, &story->anomaly[i]);
    sb_render_raw(out, "result", step->result);
    sb_render_text(out, "error", step->error);
    write_compensation(out, step, state);
    sb_render_close(out, '}');
}

static void write_event(sb_buf_t *out, sb_story_t *story, int index)
{
    sb_saga_event_t event;
    int version;
    if (sb_story_event(story, index, &event, &version, NULL) != SB_OK)
        return;
    sb_render_open(out, NULL, '{');
    sb_render_time(out, "at", event.at_us);
    sb_render_int(out, "version", version);
    sb_render_text(out, "type", sb_slice(sb_saga_event_type(event.kind)));
    if (event.step >= 0) {
        sb_render_text(out, "step", sb_slice(story->definition->step[event.step].name));
        sb_render_direction(out, event.direction);
        sb_render_int(out, "round", event.round);
        sb_render_int(out, "attempt", event.attempt);
    }
    if (event.unknown)
        sb_render_bool(out, "unknown", true);
    if (event.wake_us)
        sb_render_time(out, "next_try_at", event.wake_us);
    if (event.fallback)
        sb_render_bool(out, "fallback", true);
    if (event.pause)
        sb_render_bool(out, "pause", true);
    if (event.input.ptr)
        sb_render_raw(out, "input", event.input);
    if (event.error.ptr)
        sb_render_text(out, "error", event.error);
    if (event.error_class != SB_CLASS_NONE)
        sb_render_text(out, "error_class", sb_slice(sb_error_class_name(event.error_class)));
    if (event.by.ptr)
        sb_render_text(out, "by", event.by);
    if (event.reason.ptr)
        sb_render_text(out, "reason", event.reason);
    sb_render_close(out, '}');
}

static void write_definition(sb_buf_t *out, const sb_story_t *story)
{
    char text[SB_HASH_TEXT];
    sb_render_open(out, "definition", '{');
    sb_render_text(out, "name", story->type);
    sb_render_int(out, "version", story->definition->version);
    sb_render_text(out, "hash", sb_slice(sb_hash_format(&story->definition_hash, text)));
    sb_render_close(out, '}');
}

static sb_slice_t result_of(sb_story_t *story)
{
    sb_slice_t results[SB_STEPS_MAX];
    for (int i = 0; i < story->definition->step_count; i++)
        results[i] = story->step[i].result;
    return sb_saga_result(story->definition, &story->state, story->input, results, &story->scratch);
}

static void write_story(sb_buf_t *out, sb_story_t *story, bool history)
{
    char self[64];
    char text[SB_UUID_TEXT];
    const sb_saga_state_t *state = &story->state;
    sb_render_open(out, NULL, '{');
    sb_render_uuid(out, "id", &story->id);
    sb_render_text(out, "type", story->type);
    sb_render_text(out, "key", story->key);
    write_parent(out, story);
    sb_render_text(out, "status", sb_slice(sb_saga_status_name(state->status)));
    sb_render_bool(out, "paused", state->paused);
    sb_render_bool(out, "attention", state->attention);
    if (state->rewind_to >= 0)
        sb_render_text(out, "rewinding_to", sb_slice(story->definition->step[state->rewind_to].name));
    write_definition(out, story);
    sb_render_time(out, "started_at", story->started_us);
    sb_render_time(out, "ended_at", story->ended_us);
    if (story->ended_us)
        sb_render_int(out, "duration_ms", (story->ended_us - story->started_us) / 1000);
    sb_render_text(out, "correlation_id", story->correlation_id);
    sb_render_raw(out, "input", story->input);
    sb_render_raw(out, "result", result_of(story));
    sb_render_text(out, "error", state->status == SB_SAGA_COMPLETED ? SB_SLICE_NONE : story->error);
    sb_render_open(out, "steps", '[');
    for (int i = 0; i < story->definition->step_count; i++)
        write_step(out, story, i);
    sb_render_close(out, ']');
    if (history) {
        sb_render_open(out, "history", '[');
        for (int i = 0; i < sb_story_event_count(story); i++)
            write_event(out, story, i);
        sb_render_close(out, ']');
    }
    (void)snprintf(self, sizeof self, "/v1/sagas/%s", sb_uuid_format(&story->id, text));
    sb_render_open(out, "links", '{');
    sb_render_text(out, "self", sb_slice(self));
    sb_render_close(out, '}');
    sb_render_close(out, '}');
}

sb_code_t sb_saga_show(sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id, bool history, sb_buf_t *out,
                       sb_error_t *err)
{
    sb_story_t *story = NULL;
    sb_code_t code = sb_story_read(&story, pg, catalog, id, err);
    if (code != SB_OK)
        return code;
    write_story(out, story, history);
    if (sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "show a saga: out of memory");
    sb_story_free(&story);
    return code;
}
