/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/order.h"

#include "base/clock.h"
#include "base/log.h"
#include "saga/contract.h"

#include <stdio.h>

#define SOURCE "/sagabus"

/* Commands of a participant that takes no more are passed over: the others' are behind them in the list. */
#define REFUSED_A_TURN 32

static sb_slice_t given_to(const sb_given_t *given, int step, sb_direction_t direction)
{
    return given ? given->input[step][direction] : SB_SLICE_NONE;
}

/* An undo without an input of its own has that of the forward command. */
static sb_slice_t find_given(const sb_open_saga_t *saga, const sb_given_t *newer,
                             const sb_saga_order_t *order)
{
    int step = order->step;
    bool own = order->direction == SB_FORWARD || saga->plan->definition->step[step].undo_input;
    sb_slice_t found = given_to(newer, step, order->direction);
    if (!found.ptr)
        found = given_to(saga->given, step, order->direction);
    if (!found.ptr && !own)
        found = given_to(newer, step, SB_FORWARD);
    if (!found.ptr && !own)
        found = given_to(saga->given, step, SB_FORWARD);
    return found;
}

sb_code_t sb_order_render(const sb_open_saga_t *saga, const sb_slice_t *results, const sb_given_t *given,
                          const sb_saga_order_t *order, sb_buf_t *out, sb_error_t *err)
{
    sb_slice_t whole = find_given(saga, given, order);
    sb_buf_reset(out);
    if (whole.ptr) {
        sb_buf_add_slice(out, whole);
        return sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "render a command: out of memory") : SB_OK;
    }
    sb_code_t code = sb_definition_render(saga->plan->definition, order->step,
                                          order->direction == SB_COMPENSATE, saga->input, results, out, err);
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "render a command: out of memory");
    return code;
}

/* ---- the record ---- */

/* Headers of a command, with room for the values that are made here. */
struct sb_order_head {
    sb_header_t item[SB_HEADERS_MAX];
    size_t count;
    char saga_id[SB_UUID_TEXT], command_id[SB_UUID_TEXT], forward_id[SB_UUID_TEXT];
    char round[8], attempt[8], partition[8];
    char expiry[SB_TIME_TEXT];
};

static void add(sb_order_head_t *headers, const char *name, sb_slice_t value)
{
    if (value.ptr)
        headers->item[headers->count++] = (sb_header_t){name, value};
}

static void add_uuid(sb_order_head_t *headers, const char *name, const sb_uuid_t *id, char text[SB_UUID_TEXT])
{
    add(headers, name, sb_slice(sb_uuid_format(id, text)));
}

static void add_int(sb_order_head_t *headers, const char *name, int value, char text[8])
{
    (void)snprintf(text, 8, "%d", value);
    add(headers, name, sb_slice(text));
}

/* An undo says what it undoes, so that a participant can void a forward command it has not seen. */
static void add_forward(sb_order_head_t *headers, const sb_open_saga_t *saga, const sb_saga_order_t *order,
                        const char *step)
{
    sb_uuid_t forward = sb_saga_command_id(&saga->id, step, SB_FORWARD, order->round);
    add_uuid(headers, SB_H_FORWARD_ID, &forward, headers->forward_id);
    add(headers, SB_H_FORWARD, order->forward_unknown ? SB_SLICE("unknown") : SB_SLICE("completed"));
}

static void fill_headers(sb_order_head_t *headers, const sb_orchestrator_t *o, const sb_open_saga_t *saga,
                         const sb_saga_order_t *order)
{
    const char *step = saga->plan->definition->step[order->step].name;
    bool undo = order->direction == SB_COMPENSATE;
    sb_uuid_t id = sb_saga_command_id(&saga->id, step, order->direction, order->round);
    headers->count = 0;
    add(headers, SB_H_SPECVERSION, SB_SLICE("1.0"));
    add_uuid(headers, SB_H_ID, &id, headers->command_id);
    add(headers, SB_H_TYPE, sb_slice(saga->plan->step[order->step].command_type[order->direction]));
    add(headers, SB_H_SOURCE, SB_SLICE(SOURCE));
    add(headers, SB_H_CONTENT, SB_SLICE("application/json"));
    add(headers, SB_H_CORRELATION, saga->correlation_id);
    add(headers, SB_H_TRACEPARENT, saga->traceparent);
    /* An undo is wanted however late; a forward command only while somebody waits for its answer. */
    if (!undo && order->deadline_us)
        add(headers, SB_H_EXPIRY, sb_slice(sb_time_format(order->deadline_us, headers->expiry)));
    add_uuid(headers, SB_H_SAGA_ID, &saga->id, headers->saga_id);
    add(headers, SB_H_SAGA_STEP, sb_slice(step));
    add(headers, SB_H_DIRECTION, undo ? SB_SLICE("compensate") : SB_SLICE("forward"));
    add_int(headers, SB_H_ROUND, order->round, headers->round);
    add_int(headers, SB_H_ATTEMPT, order->attempt, headers->attempt);
    add(headers, SB_H_REPLY_TO, sb_slice(o->reply_topic));
    add_int(headers, SB_H_REPLY_PART, sb_saga_shard(saga->no), headers->partition);
    if (undo)
        add_forward(headers, saga, order, step);
}

sb_order_head_t *sb_order_head(const sb_orchestrator_t *o, const sb_open_saga_t *saga,
                               const sb_saga_order_t *order, sb_arena_t *arena)
{
    bool child = saga->plan->definition->step[order->step].child;
    sb_order_head_t *head = child ? NULL : sb_arena_alloc(arena, sizeof *head);
    if (head)
        fill_headers(head, o, saga, order);
    return head;
}

sb_code_t sb_order_send(sb_orchestrator_t *o, const sb_open_saga_t *saga, const sb_saga_order_t *order,
                        const sb_order_head_t *head, sb_slice_t body, sb_error_t *err)
{
    sb_order_head_t own;
    if (saga->plan->definition->step[order->step].child)
        return sb_children_take(o, saga->no, order, body, err);
    if (!head) {
        fill_headers(&own, o, saga, order);
        head = &own;
    }
    sb_record_t record = {.topic = saga->plan->step[order->step].topic,
                          .partition = -1,
                          .key = sb_slice(head->saga_id),
                          .value = body,
                          .headers = head->item,
                          .header_count = head->count,
                          .tag = (uint64_t)saga->no,
                          .patience_us =
                              order->deadline_us ? order->deadline_us - sb_orchestrator_now(o) : 0};
    return o->bus_operations->send(o->bus, &record, err);
}

/* ---- again ---- */

/* Sends all commands that are open in the saga, and starts their clocks anew. False: the bus takes no more
 * now. */
static bool resend(sb_orchestrator_t *o, sb_open_saga_t *saga)
{
    sb_saga_state_t before, after;
    sb_decision_t decision;
    sb_open_saga_get_state(saga, &before);
    sb_machine_open(saga->plan->definition, &before, sb_orchestrator_now(o), &decision, &after);
    for (int i = 0; i < decision.order_count; i++) {
        sb_error_t err = SB_ERROR_INIT;
        sb_buf_t *body = &o->batch.scratch;
        if (sb_order_render(saga, saga->result, NULL, &decision.order[i], body, &err) != SB_OK) {
            sb_log_error(SB_LOG_ERROR, "SAGA-RENDER", &err,
                         "a command that went out once cannot be rendered");
            continue;
        }
        sb_code_t code = sb_order_send(o, saga, &decision.order[i], NULL, sb_buf_slice(body), &err);
        if (code != SB_OK)
            return false;
        o->stats.resent++;
    }
    sb_open_saga_set_state(saga, &after);
    sb_timers_set(&o->timers, saga, decision.wake_us);
    return true;
}

/* A token is one saga. A tenth of a second's worth may gather while nothing is to be sent. */
static void fill_tokens(sb_orchestrator_t *o)
{
    int64_t mono = sb_mono_us();
    double most = (double)o->resend_per_second / 10 + 1;
    o->resend_tokens += (double)(mono - o->resend_us) * (double)o->resend_per_second / 1e6;
    o->resend_us = mono;
    if (o->resend_tokens > most)
        o->resend_tokens = most;
}

void sb_order_resend_some(sb_orchestrator_t *o)
{
    if (!o->resend.first)
        return;
    fill_tokens(o);
    for (size_t refused = 0;
         o->resend.first && o->resend_tokens >= 1 && refused < REFUSED_A_TURN && refused < o->resend.count;) {
        sb_open_saga_t *saga = o->resend.first;
        const sb_shard_t *shard = sb_shard_find(o, sb_saga_shard(saga->no));
        if (!shard || !sb_shard_is_fresh(o, shard))
            return;
        if (!resend(o, saga)) { /* its participant takes no more now: the others' come first */
            sb_resend_remove(&o->resend, saga);
            sb_resend_add(&o->resend, saga);
            refused++;
            continue;
        }
        sb_resend_remove(&o->resend, saga);
        o->resend_tokens -= 1;
    }
}
