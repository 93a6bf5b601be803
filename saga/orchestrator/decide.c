/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/decide.h"

#include "base/clock.h"
#include "base/log.h"
#include "saga/migrate.h"
#include "saga/orchestrator/columns.h"
#include "saga/orchestrator/order.h"

#include <assert.h>

/* splitmix64: for jitter only. */
static uint64_t next_random(sb_orchestrator_t *o)
{
    uint64_t z = (o->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "decide about a saga: out of memory");
}

/* ---- touches ---- */

static sb_touch_t *new_touch(sb_batch_t *batch, sb_open_saga_t *saga)
{
    sb_touch_t *touch = sb_arena_alloc(&batch->arena, sizeof *touch);
    if (!touch)
        return NULL;
    touch->saga = saga;
    touch->id = saga->id;
    saga->touch = touch;
    if (batch->last_touch)
        batch->last_touch->next = touch;
    else
        batch->touch = touch;
    batch->last_touch = touch;
    return touch;
}

/* What is decided starts from the committed state. The clocks of a saga whose commands are still to be sent
 * again start now: no try ends by time in which nobody could answer. */
static sb_touch_t *touch_of(sb_orchestrator_t *o, sb_open_saga_t *saga)
{
    if (saga->touch)
        return saga->touch;
    sb_touch_t *touch = new_touch(&o->batch, saga);
    if (!touch)
        return NULL;
    sb_open_saga_get_state(saga, &touch->state);
    touch->wake_us = saga->wake_us; /* should nothing be decided: its clock runs on */
    if (saga->resend) {
        sb_saga_state_t before = touch->state;
        sb_decision_t opened;
        sb_machine_open(saga->plan->definition, &before, o->batch.now_us, &opened, &touch->state);
        touch->wake_us = opened.wake_us;
    }
    memcpy(touch->result, saga->result, (size_t)saga->steps * sizeof *saga->result);
    if (saga->error)
        touch->error = sb_slice(saga->error);
    return touch;
}

/* ---- one input ---- */

/* The declared result of a step whose tries ended without an outcome; absent: no memory. */
static sb_slice_t fallback_of(sb_orchestrator_t *o, const sb_touch_t *touch, int step)
{
    sb_buf_t *text = &o->batch.scratch;
    sb_buf_reset(text);
    sb_code_t code = sb_definition_fallback(touch->saga->plan->definition, step, touch->saga->input,
                                            touch->result, text, NULL);
    return code == SB_OK && !sb_buf_failed(text) ? sb_arena_copy(&o->batch.arena, sb_buf_slice(text))
                                                 : SB_SLICE_NONE;
}

/* The machine leaves it to us to fill them in. */
static bool fill_fallbacks(sb_orchestrator_t *o, const sb_touch_t *touch, sb_decision_t *decision)
{
    for (int i = 0; i < decision->event_count; i++) {
        sb_saga_event_t *event = &decision->event[i];
        if (!event->fallback)
            continue;
        event->result = fallback_of(o, touch, event->step);
        if (!event->result.ptr)
            return false;
    }
    return true;
}

/* A step that is out may end by its fallback in this very decision, and conditions may read it. */
static void expect_fallbacks(sb_orchestrator_t *o, const sb_touch_t *touch, sb_slice_t *results)
{
    const sb_definition_t *definition = touch->saga->plan->definition;
    for (int i = 0; i < definition->step_count; i++)
        if (definition->step[i].fallback && touch->state.step[i].status == SB_STEP_DISPATCHED)
            results[i] = fallback_of(o, touch, i);
}

static bool sets_result(const sb_saga_input_t *input)
{
    return input->kind == SB_SAGA_IN_SKIP ||
           (input->kind == SB_SAGA_IN_REPLY && input->outcome == SB_OUTCOME_SUCCESS);
}

/* The first of the steps that may begin anew in this decision; the count of all when there is none. */
static int goes_back_to(const sb_touch_t *touch, const sb_saga_input_t *input)
{
    const sb_definition_t *definition = touch->saga->plan->definition;
    if (input->kind == SB_SAGA_IN_REWIND && input->step >= 0 && input->step < definition->step_count) {
        int group = definition->step[input->step].group;
        return group >= 0 ? group : input->step;
    }
    return touch->state.rewind_to >= 0 ? touch->state.rewind_to : definition->step_count;
}

/* Which pending steps must be left out because their `when` does not hold, with the input's result among the
 * results. A condition that cannot be judged (yet) leaves the step in. */
static uint32_t skip_mask(sb_orchestrator_t *o, const sb_touch_t *touch, const sb_saga_input_t *input)
{
    const sb_plan_t *plan = touch->saga->plan;
    uint32_t mask = 0;
    if (!plan->has_when)
        return 0;
    sb_slice_t results[SB_STEPS_MAX];
    memcpy(results, touch->result, sizeof results);
    expect_fallbacks(o, touch, results);
    if (input->step >= 0 && input->direction == SB_FORWARD && sets_result(input))
        results[input->step] = input->result;
    int back = goes_back_to(touch, input);
    for (int i = back; i < plan->definition->step_count; i++)
        results[i] = SB_SLICE_NONE;
    for (int i = 0; i < plan->definition->step_count; i++) {
        bool holds = true;
        bool to_run = touch->state.step[i].status == SB_STEP_PENDING || i >= back;
        if (!plan->definition->step[i].when || !to_run)
            continue;
        if (sb_definition_when(plan->definition, i, touch->saga->input, results, &holds, NULL) == SB_OK &&
            !holds)
            mask |= 1u << i;
    }
    return mask;
}

/* What was given for the step that it goes back to; empty: nothing. */
static sb_slice_t given_next(const sb_touch_t *touch)
{
    if (touch->given && touch->given->next.ptr)
        return touch->given->next;
    return touch->saga->given ? touch->saga->given->next : SB_SLICE_NONE;
}

static bool remember_given(sb_orchestrator_t *o, sb_touch_t *touch, const sb_saga_event_t *event)
{
    bool to_come = event->kind == SB_SAGA_EV_REWINDING;
    sb_slice_t input = event->input;
    if (event->kind == SB_SAGA_EV_REWOUND)
        input = given_next(touch);
    else if (to_come && !input.ptr)
        input = SB_SLICE(""); /* what an earlier one gave is not this one's */
    if (!input.ptr || (input.len == 0 && !to_come))
        return true;
    if (!touch->given)
        touch->given = sb_arena_alloc(&o->batch.arena, sizeof *touch->given);
    if (!touch->given)
        return false;
    if (to_come)
        touch->given->next = input;
    else
        touch->given->input[event->step][event->direction] = input;
    return true;
}

static void remember(sb_orchestrator_t *o, sb_touch_t *touch, const sb_saga_event_t *event)
{
    for (int i = event->step;
         event->kind == SB_SAGA_EV_REWOUND && i < touch->saga->plan->definition->step_count; i++) {
        touch->result[i] = SB_SLICE_NONE;
        touch->result_changed |= 1u << i;
    }
    if (event->result.ptr && event->step >= 0 &&
        (event->kind == SB_SAGA_EV_STEP_COMPLETED || event->kind == SB_SAGA_EV_STEP_SKIPPED)) {
        touch->result[event->step] = event->result;
        touch->result_changed |= 1u << event->step;
    }
    if (event->error.len > 0 && event->kind != SB_SAGA_EV_ANOMALY)
        touch->error = event->error;
    if (event->kind == SB_SAGA_EV_ANOMALY)
        o->batch.anomalies++;
    if (event->kind == SB_SAGA_EV_STEP_RETRIED)
        o->batch.retries++;
}

static sb_code_t write_events(sb_orchestrator_t *o, sb_touch_t *touch, const sb_decision_t *decision,
                              sb_error_t *err)
{
    const sb_open_saga_t *saga = touch->saga;
    const sb_definition_t *definition = saga->plan->definition;
    sb_saga_head_t head = {.id = saga->id,
                           .type = sb_slice(definition->name),
                           .key = saga->key,
                           .definition_hash = definition->hash};
    for (int i = 0; i < decision->event_count; i++) {
        const sb_saga_event_t *event = &decision->event[i];
        sb_buf_reset(&o->batch.scratch);
        sb_saga_event_write(definition, event, &head, &o->batch.scratch);
        if (sb_buf_failed(&o->batch.scratch))
            return no_memory(err);
        sb_columns_add_event(o->batch.columns, touch, touch->state.version + 1 + i, event->at_us,
                             o->type_no[event->kind], sb_buf_slice(&o->batch.scratch));
        remember(o, touch, event);
        if (!remember_given(o, touch, event))
            return no_memory(err);
    }
    return SB_OK;
}

static sb_code_t add_order(sb_orchestrator_t *o, sb_touch_t *touch, const sb_saga_order_t *order,
                           sb_error_t *err)
{
    sb_buf_t *body = &o->batch.scratch;
    sb_code_t code = sb_order_render(touch->saga, touch->result, touch->given, order, body, err);
    if (code != SB_OK)
        return code;
    sb_touch_order_t *out = sb_arena_alloc(&o->batch.arena, sizeof *out);
    if (out)
        out->body = sb_arena_copy(&o->batch.arena, sb_buf_slice(body));
    if (!out || !out->body.ptr)
        return no_memory(err);
    out->order = *order;
    if (touch->last_order)
        touch->last_order->next = out;
    else
        touch->order = out;
    touch->last_order = out;
    return SB_OK;
}

/* A command whose input cannot be made was never sent, so the step did nothing: that is a refusal, and it is
 * handed to the machine as one. */
static sb_saga_input_t refusal_of(sb_orchestrator_t *o, const sb_saga_order_t *order, const sb_error_t *why)
{
    return (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                             .step = order->step,
                             .direction = order->direction,
                             .round = order->round,
                             .attempt = order->attempt,
                             .outcome = SB_OUTCOME_FAILURE,
                             .error = sb_arena_copy(&o->batch.arena, sb_slice(why->message))};
}

static sb_code_t take_orders(sb_orchestrator_t *o, sb_touch_t *touch, const sb_decision_t *decision,
                             sb_inputs_t *more, sb_error_t *err)
{
    for (int i = 0; i < decision->order_count; i++) {
        const sb_saga_order_t *order = &decision->order[i];
        sb_error_t why = SB_ERROR_INIT;
        sb_code_t code = add_order(o, touch, order, &why);
        if (code == SB_NO_MEMORY)
            return no_memory(err);
        if (code == SB_OK)
            continue;
        if (order->direction == SB_FORWARD && more->count < SB_STEPS_MAX + 1)
            more->item[more->count++] = refusal_of(o, order, &why);
        else /* its clock runs, so it is tried again and attracts attention */
            sb_log_error(SB_LOG_ERROR, "SAGA-RENDER", &why, "the input of an undo cannot be made");
    }
    return SB_OK;
}

/* Decides about one input and what follows from it at once. */
static sb_code_t decide_input(sb_orchestrator_t *o, sb_touch_t *touch, const sb_saga_input_t *input,
                              sb_item_t *item, sb_error_t *err)
{
    sb_inputs_t *inputs = &o->batch.inputs;
    sb_decision_t *decision = &o->batch.decision;
    const sb_definition_t *definition = touch->saga->plan->definition;
    inputs->item[0] = *input;
    inputs->count = 1;
    for (int i = 0; i < inputs->count; i++) {
        sb_saga_state_t after;
        inputs->item[i].random = next_random(o);
        inputs->item[i].skip_mask = skip_mask(o, touch, &inputs->item[i]);
        sb_machine_decide(definition, &touch->state, &inputs->item[i], o->batch.now_us, decision, &after);
        if (decision->refused) {
            item->code = SB_CONFLICT;
            item->refusal = decision->refusal;
            touch->wake_us =
                decision->wake_us; /* its clock runs on: no saga stands still for a refused verb */
            return SB_OK;
        }
        if (!fill_fallbacks(o, touch, decision))
            return no_memory(err);
        sb_code_t code = write_events(o, touch, decision, err);
        if (code != SB_OK)
            return code;
        assert(after.version == touch->state.version + decision->event_count);
        touch->state = after;
        touch->wake_us = decision->wake_us;
        code = take_orders(o, touch, decision, inputs, err);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

/* ---- items ---- */

static sb_code_t decide_start(sb_orchestrator_t *o, sb_shard_t *shard, sb_item_t *item, sb_error_t *err)
{
    sb_batch_t *batch = &o->batch;
    const sb_call_t *call = item->call;
    char id_text[SB_UUID_TEXT];
    item->no = sb_saga_number(shard->number, batch->next++);
    sb_open_saga_head_t head = {.no = item->no,
                                .id = sb_saga_id(item->no, batch->now_us / 1000),
                                .plan = item->plan,
                                .key = call->start.key,
                                .correlation_id = call->start.correlation_id,
                                .traceparent = call->start.traceparent,
                                .input = call->start.input};
    if (!head.key.ptr)
        head.key = sb_slice(call->own_key[0] ? call->own_key : sb_uuid_format(&head.id, id_text));
    sb_open_saga_t *saga = sb_open_saga_new(&head);
    if (!saga)
        return no_memory(err);
    sb_touch_t *touch = new_touch(batch, saga);
    if (!touch) {
        sb_open_saga_free(saga);
        return no_memory(err);
    }
    item->touch = touch;
    touch->fresh = true;
    touch->call = call;
    batch->fresh_count++;
    sb_saga_state_init(&touch->state);
    sb_saga_input_t input = {.kind = SB_SAGA_IN_START, .step = -1, .voided = call->voided};
    if (call->voided)
        input.reason = SB_SLICE("the saga it is a step of turned back before it was started");
    return decide_input(o, touch, &input, item, err);
}

/* From here on the saga has the other plan; a batch that is not committed gives it the old one back. */
static sb_code_t migrate(sb_orchestrator_t *o, sb_touch_t *touch, sb_item_t *item)
{
    sb_open_saga_t *saga = touch->saga;
    const sb_plan_t *plan = NULL;
    sb_error_t why = SB_ERROR_INIT;
    sb_slice_t type = sb_slice(saga->plan->definition->name);
    sb_code_t code = sb_plans_version(&o->plans, type, item->version, &plan, &why);
    if (code == SB_NOT_FOUND && o->catalog_us <= sb_mono_us()) { /* another instance may know it already */
        sb_code_t ignored = sb_catalog_load(o->catalog, o->pg, NULL);
        (void)ignored;
        o->catalog_us = sb_mono_us() + 1000000;
        sb_error_clear(&why);
        code = sb_plans_version(&o->plans, type, item->version, &plan, &why);
    }
    if (code == SB_OK && touch->old_plan)
        code = sb_fail(&why, SB_CONFLICT, "it is moved to a version at this very moment");
    if (code == SB_OK)
        code =
            sb_saga_may_migrate(saga->plan->definition, plan->definition, &touch->state, saga->input, &why);
    if (code != SB_OK) {
        sb_slice_t text = {why.message, strlen(why.message) + 1};
        item->code = code;
        item->refusal = sb_arena_copy(&o->batch.arena, text).ptr;
        return SB_OK;
    }
    touch->old_plan = saga->plan;
    saga->plan = plan;
    return SB_OK;
}

static bool resolve_step(sb_orchestrator_t *o, const sb_open_saga_t *saga, sb_item_t *item)
{
    char text[SB_NO_STEP_TEXT];
    if (item->kind != SB_ITEM_VERB || !item->step_name.ptr)
        return true;
    item->input.step = sb_definition_step(saga->plan->definition, item->step_name);
    if (item->input.step >= 0)
        return true;
    item->code = SB_INVALID;
    const char *why = sb_definition_no_step(saga->plan->definition, text);
    item->refusal = sb_arena_copy(&o->batch.arena, (sb_slice_t){why, strlen(why) + 1}).ptr;
    return false;
}

sb_code_t sb_decide(sb_orchestrator_t *o, sb_shard_t *shard, sb_item_t *item, sb_error_t *err)
{
    item->code = SB_OK;
    item->refusal = NULL;
    item->touch = NULL;
    if (item->kind == SB_ITEM_START)
        return decide_start(o, shard, item, err);
    if (item->unknown_verb) {
        item->code = SB_INVALID;
        item->refusal = "no such verb";
        return SB_OK;
    }
    sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, item->no);
    if (!saga || saga->stuck) { /* it ended earlier in this turn, or cannot be driven */
        item->code = SB_CONFLICT;
        item->refusal = saga ? "the saga cannot be driven; see the log" : "the saga is over";
        return SB_OK;
    }
    if (!resolve_step(o, saga, item))
        return SB_OK;
    sb_touch_t *touch = touch_of(o, saga);
    if (!touch)
        return no_memory(err);
    item->touch = touch;
    bool of_ended = item->input.kind == SB_SAGA_IN_UNDO || item->kind == SB_ITEM_REPLY;
    if (sb_saga_is_over(&touch->state) && !of_ended) {
        item->code = SB_CONFLICT;
        item->refusal = "the saga is over";
        return SB_OK;
    }
    if (item->input.kind == SB_SAGA_IN_MIGRATE) {
        sb_code_t code = migrate(o, touch, item);
        if (code != SB_OK || item->code != SB_OK)
            return code;
    }
    return decide_input(o, touch, &item->input, item, err);
}

/* ---- rows ---- */

/* The row follows what is searched for: status and flags, not every step. */
static bool row_changes(const sb_touch_t *touch)
{
    sb_saga_state_t before;
    if (touch->fresh)
        return touch->state.status != SB_SAGA_STARTED || touch->state.attention || touch->state.paused;
    if (touch->old_plan || touch->saga->row_doubtful)
        return true;
    sb_open_saga_get_state(touch->saga, &before);
    return before.status != touch->state.status || before.paused != touch->state.paused ||
           before.attention != touch->state.attention || before.rewind_to != touch->state.rewind_to;
}

void sb_decide_rows(sb_orchestrator_t *o)
{
    for (const sb_touch_t *touch = o->batch.touch; touch; touch = touch->next) {
        if (touch->fresh)
            sb_columns_add_saga(o->batch.columns, touch, touch->call, o->batch.now_us);
        if (row_changes(touch))
            sb_columns_add_update(o->batch.columns, touch, o->batch.now_us);
    }
}
