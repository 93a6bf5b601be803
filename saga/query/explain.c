/* What an operator wants to know of one saga: what it waits for and since when, what went wrong last, what is
 * still to come, and what would be undone if it failed now.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/forecast.h"
#include "saga/query/query.h"
#include "saga/query/render.h"
#include "saga/query/story.h"

#include <stdio.h>

static const char *command_of(const sb_step_definition_t *step, sb_direction_t direction)
{
    return direction == SB_FORWARD ? step->action : step->compensation ? step->compensation : "";
}

static void write_command(sb_buf_t *out, const sb_story_t *story, int index, sb_direction_t direction)
{
    char type[160];
    const sb_step_definition_t *step = &story->definition->step[index];
    if (step->child)
        (void)snprintf(type, sizeof type, "%s saga %s", direction == SB_FORWARD ? "run" : "undo",
                       step->child);
    else
        (void)snprintf(type, sizeof type, "%s.%s", step->participant, command_of(step, direction));
    sb_render_text(out, "step", sb_slice(step->name));
    sb_render_text(out, "participant", sb_slice(step->participant));
    sb_render_text(out, "command", sb_slice(type));
    sb_render_direction(out, direction);
    if (!sb_uuid_is_nil(&story->step[index].child))
        sb_render_uuid(out, "saga", &story->step[index].child);
}

/* ---- what it waits for ---- */

/* Tries without end, as undos and what follows the pivot are, have no count. */
static void write_tries(sb_buf_t *out, const sb_story_t *story, int index, sb_direction_t direction)
{
    const sb_step_definition_t *step = &story->definition->step[index];
    bool counted = direction == SB_FORWARD && !step->pivot && !step->forward_only;
    sb_render_int(out, "attempt", story->state.step[index].attempt);
    if (counted && step->retry.attempts_max > 0)
        sb_render_int(out, "attempts_max", step->retry.attempts_max);
}

/* Until when it waits, as far as the events say: absent (0) while it is paused, and when that time is over,
 * for its clock was started anew then (it still works, it waits for its turn, another instance sent it). */
static int64_t waits_until(const sb_story_t *story, int index, bool is_out, int64_t now_us)
{
    const sb_step_state_t *st = &story->state.step[index];
    int64_t until_us = st->wake_us;
    if (is_out && st->waiting)
        until_us += (int64_t)story->definition->step[index].timeout_ms * 1000;
    return story->state.paused || until_us <= now_us ? 0 : until_us;
}

static void write_wait(sb_buf_t *out, const sb_story_t *story, int index, int64_t now_us)
{
    const sb_step_state_t *st = &story->state.step[index];
    /* That a try went out when its time had come is no event. */
    bool is_out = !st->waiting || (!story->state.paused && st->wake_us <= now_us);
    sb_direction_t direction = st->status == SB_STEP_COMPENSATING ? SB_COMPENSATE : SB_FORWARD;
    bool child = story->definition->step[index].child != NULL;
    const char *what = st->status == SB_STEP_FAILED ? "operator"
                       : !is_out                    ? "next_try"
                       : child                      ? "saga"
                                                    : "answer";
    sb_render_open(out, NULL, '{');
    sb_render_text(out, "what", sb_slice(what));
    write_command(out, story, index, direction);
    if (!child)
        write_tries(out, story, index, direction);
    sb_render_time(out, "since", st->since_us);
    if (st->status != SB_STEP_FAILED && !child) /* a child's times are its own */
        sb_render_time(out, "until", waits_until(story, index, is_out, now_us));
    sb_render_bool(out, "attention", st->attention);
    sb_render_close(out, '}');
}

/* A refused step holds a saga up only past the pivot: before it, the saga has turned back. */
static bool is_waited_for(const sb_saga_state_t *state, int index)
{
    const sb_step_state_t *st = &state->step[index];
    return st->status == SB_STEP_DISPATCHED || st->status == SB_STEP_COMPENSATING ||
           (st->status == SB_STEP_FAILED && state->past_pivot);
}

static void write_act(sb_buf_t *out, const char *when, const sb_story_act_t *act)
{
    sb_render_time(out, when, act->at_us);
    if (act->by.len > 0)
        sb_render_text(out, "by", act->by);
    if (act->reason.len > 0)
        sb_render_text(out, "reason", act->reason);
}

/* Why it turned back, or was closed, where that is no error's doing. */
static void write_why(sb_buf_t *out, const char *name, const sb_story_act_t *act)
{
    if (act->at_us == 0 || (act->by.len == 0 && act->reason.len == 0))
        return;
    sb_render_open(out, name, '{');
    write_act(out, "at", act);
    sb_render_close(out, '}');
}

static void write_waits(sb_buf_t *out, const sb_story_t *story, int64_t now_us)
{
    sb_render_open(out, "waits_for", '[');
    if (!sb_saga_is_over(&story->state)) {
        if (story->state.paused) {
            sb_render_open(out, NULL, '{');
            sb_render_text(out, "what", SB_SLICE("resume"));
            if (story->paused.at_us)
                write_act(out, "since", &story->paused);
            sb_render_close(out, '}');
        }
        for (int i = 0; i < story->definition->step_count; i++)
            if (is_waited_for(&story->state, i))
                write_wait(out, story, i, now_us);
    }
    sb_render_close(out, ']');
}

/* ---- what went wrong, what is to come ---- */

static void write_error(sb_buf_t *out, const sb_story_t *story)
{
    if (story->error.len == 0) {
        sb_render_raw(out, "last_error", SB_SLICE_NONE);
        return;
    }
    sb_render_open(out, "last_error", '{');
    sb_render_text(out, "error", story->error);
    sb_render_text(out, "step",
                   story->error_step < 0 ? SB_SLICE_NONE
                                         : sb_slice(story->definition->step[story->error_step].name));
    sb_render_time(out, "at", story->error_us);
    sb_render_close(out, '}');
}

/* What participants said that cannot be true together with what is recorded. */
static void write_anomalies(sb_buf_t *out, const sb_story_t *story)
{
    sb_render_open(out, "anomalies", '[');
    for (int i = 0; i < story->definition->step_count; i++) {
        const sb_story_anomaly_t *anomaly = &story->anomaly[i];
        if (anomaly->at_us == 0)
            continue;
        sb_render_open(out, NULL, '{');
        write_command(out, story, i, anomaly->direction);
        sb_render_text(out, "reason", anomaly->reason);
        sb_render_text(out, "error", anomaly->error);
        sb_render_time(out, "at", anomaly->at_us);
        sb_render_close(out, '}');
    }
    sb_render_close(out, ']');
}

static void write_forecast(sb_buf_t *out, const char *name, const sb_story_t *story,
                           const sb_forecast_t *forecast)
{
    sb_render_open(out, name, '{');
    sb_render_text(out, "ends", sb_slice(sb_saga_status_name(forecast->end)));
    sb_render_open(out, "commands", '[');
    for (int i = 0; i < forecast->count; i++) {
        sb_render_open(out, NULL, '{');
        write_command(out, story, forecast->step[i], forecast->direction[i]);
        if (forecast->direction[i] == SB_FORWARD && story->definition->step[forecast->step[i]].when)
            sb_render_bool(out, "conditional", true);
        sb_render_close(out, '}');
    }
    sb_render_close(out, ']');
    sb_render_close(out, '}');
}

static void write_acts(sb_buf_t *out, const sb_story_t *story, int64_t now_us)
{
    static const struct {
        const char *name;
        sb_saga_input_kind_t verb;
    } acts[] = {{"cancel", SB_SAGA_IN_CANCEL},  {"retry", SB_SAGA_IN_RETRY}, {"pause", SB_SAGA_IN_PAUSE},
                {"resume", SB_SAGA_IN_RESUME},  {"skip", SB_SAGA_IN_SKIP},   {"rewind", SB_SAGA_IN_REWIND},
                {"resolve", SB_SAGA_IN_RESOLVE}};
    sb_render_open(out, "acts", '[');
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        if (sb_forecast_accepts(story->definition, &story->state, acts[i].verb, now_us))
            sb_render_text(out, NULL, sb_slice(acts[i].name));
    sb_render_close(out, ']');
}

static void write_explanation(sb_buf_t *out, const sb_story_t *story, int64_t now_us)
{
    sb_forecast_t forecast;
    sb_render_open(out, NULL, '{');
    sb_render_uuid(out, "id", &story->id);
    sb_render_text(out, "type", story->type);
    sb_render_text(out, "key", story->key);
    sb_render_text(out, "status", sb_slice(sb_saga_status_name(story->state.status)));
    sb_render_bool(out, "paused", story->state.paused);
    sb_render_bool(out, "attention", story->state.attention);
    sb_render_bool(out, "past_pivot", story->state.past_pivot);
    if (story->state.rewind_to >= 0)
        sb_render_text(out, "rewinding_to", sb_slice(story->definition->step[story->state.rewind_to].name));
    if (story->state.status == SB_SAGA_COMPENSATING || story->state.status == SB_SAGA_COMPENSATED)
        write_why(out, "turned_back", &story->turned);
    int64_t turns_us = sb_saga_turns_back_us(story->definition, &story->state);
    if (turns_us)
        sb_render_time(out, "turns_back_at", turns_us);
    if (story->state.status == SB_SAGA_FAILED)
        write_why(out, "closed", &story->closed);
    write_waits(out, story, now_us);
    write_error(out, story);
    write_anomalies(out, story);
    sb_forecast_success(story->definition, &story->state, now_us, &forecast);
    write_forecast(out, "if_all_goes_well", story, &forecast);
    sb_forecast_failure(story->definition, &story->state, now_us, &forecast);
    write_forecast(out, "if_it_failed_now", story, &forecast);
    write_acts(out, story, now_us);
    sb_render_close(out, '}');
}

sb_code_t sb_saga_explain(sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id, int64_t now_us,
                          sb_buf_t *out, sb_error_t *err)
{
    sb_story_t *story = NULL;
    sb_code_t code = sb_story_read(&story, pg, catalog, id, err);
    if (code != SB_OK)
        return code;
    write_explanation(out, story, now_us);
    if (sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "explain a saga: out of memory");
    sb_story_free(&story);
    return code;
}
