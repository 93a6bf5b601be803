/* How it hangs together: decide emits events, and each is folded into `after` as it is emitted, so that the
 * state after a decision is the fold of its events by construction. What a fold implies (the next dispatch,
 * the next undo) is in machine_state.c; what needs an event of its own (the end, giving up) is in `drive`.
 * Commands to send are the difference between the two states.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine_internal.h"

#include <assert.h>
#include <stdio.h>

#define US_PER_MS          1000
#define ATTENTION_DELAY_MS 5000 /* at least, between tries of what does not mend itself */
#define SILENCE_MS_MAX     300000

/* ---- decide ---- */

/* One decision under way: what is read, and what comes of it. */
typedef struct turn {
    const sb_definition_t *definition;
    const sb_saga_input_t *input;
    int64_t now_us;
    sb_saga_state_t *state; /* after the events so far */
    sb_decision_t *out;
} turn_t;

static void emit(turn_t *turn, sb_saga_event_t event)
{
    event.at_us = turn->now_us;
    assert(turn->out->event_count < SB_DECISION_EVENTS_MAX);
    sb_code_t code = sb_machine_evolve(turn->definition, turn->state, &event, NULL);
    assert(code == SB_OK);
    if (code == SB_OK)
        turn->out->event[turn->out->event_count++] = event;
}

static void refuse(turn_t *turn, const char *why)
{
    turn->out->refused = true;
    turn->out->refusal = why;
}

static sb_saga_event_t of_saga(const turn_t *turn, sb_saga_event_kind_t kind)
{
    return (sb_saga_event_t){.kind = kind, .step = -1, .by = turn->input->by, .reason = turn->input->reason};
}

static sb_saga_event_t of_step(const turn_t *turn, sb_saga_event_kind_t kind, int step)
{
    const sb_step_state_t *st = &turn->state->step[step];
    return (sb_saga_event_t){.kind = kind,
                             .step = step,
                             .direction = sb_step_direction(st),
                             .round = st->round,
                             .attempt = st->attempt};
}

static void call_for_attention(turn_t *turn, int step, sb_slice_t error)
{
    if (turn->state->step[step].attention)
        return;
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_ATTENTION, step);
    event.error = error;
    emit(turn, event);
}

/* Why a try ended without saying what happened. */
typedef struct trouble {
    sb_slice_t error;
    sb_error_class_t error_class;
    bool attention; /* an operator must look at it: it is tried on until one does */
    bool silence;   /* nothing was heard at all */
} trouble_t;

static sb_retry_policy_t policy_of(const turn_t *turn, int step, sb_error_class_t error_class)
{
    bool undo = sb_step_direction(&turn->state->step[step]) == SB_COMPENSATE;
    return sb_definition_retry(&turn->definition->step[step], undo, error_class);
}

/* What got no answer may only be waiting its turn behind others at a participant that is slow: repeated at
 * the pace of the definition, however much waits there, it would be more than that one ever catches up with.
 * So what is tried without end waits as long again as it has waited, once an operator was called. */
static uint32_t silence_ms(const turn_t *turn, const sb_step_state_t *st)
{
    int64_t waited_ms = (turn->now_us - st->since_us) / US_PER_MS;
    if (waited_ms < 0)
        return 0;
    return waited_ms < SILENCE_MS_MAX ? (uint32_t)waited_ms : SILENCE_MS_MAX;
}

static void retry_later(turn_t *turn, int step, trouble_t why)
{
    const sb_step_state_t *st = &turn->state->step[step];
    sb_retry_policy_t policy = policy_of(turn, step, why.error_class);
    bool endless = sb_state_is_endless(turn->definition, turn->state, step);
    uint16_t tries = st->attempt;
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_RETRIED, step);
    event.attempt = tries < UINT16_MAX ? (uint16_t)(tries + 1) : tries;
    uint32_t delay_ms = sb_retry_delay_ms(&policy, tries, turn->input->random);
    if (why.attention && delay_ms < ATTENTION_DELAY_MS)
        delay_ms = ATTENTION_DELAY_MS;
    if (why.silence && endless && tries >= SB_UNDO_ATTENTION && delay_ms < silence_ms(turn, st))
        delay_ms = silence_ms(turn, st);
    event.wake_us = turn->now_us + (int64_t)delay_ms * US_PER_MS;
    event.error = why.error;
    event.error_class = why.error_class;
    emit(turn, event);
    if (why.attention || (endless && (tries >= SB_UNDO_ATTENTION || !sb_error_class_passes(why.error_class))))
        call_for_attention(turn, step, why.error);
}

static void give_up(turn_t *turn, int step, trouble_t why)
{
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_FAILED, step);
    event.unknown = true;
    event.error = why.error;
    event.error_class = why.error_class;
    emit(turn, event);
}

static void fall_back(turn_t *turn, int step, trouble_t why)
{
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_SKIPPED, step);
    event.fallback = true;
    event.error = why.error;
    event.error_class = why.error_class;
    emit(turn, event);
}

/* A try ended without saying what happened. */
static void try_ended(turn_t *turn, int step, trouble_t why)
{
    const sb_step_state_t *st = &turn->state->step[step];
    bool settling = turn->state->status == SB_SAGA_COMPENSATING && st->status == SB_STEP_DISPATCHED;
    sb_retry_policy_t policy = policy_of(turn, step, why.error_class);
    bool again = sb_state_is_endless(turn->definition, turn->state, step) ||
                 (!settling && (why.attention || sb_retry_allowed(&policy, st->attempt)));
    if (again)
        retry_later(turn, step, why);
    else if (!settling && turn->definition->step[step].fallback)
        fall_back(turn, step, why);
    else
        give_up(turn, step, why);
}

static void on_start(turn_t *turn)
{
    if (turn->state->status != SB_SAGA_NONE) {
        refuse(turn, "it has started already");
        return;
    }
    sb_saga_event_t event = of_saga(turn, SB_SAGA_EV_STARTED);
    event.voided = turn->input->voided;
    emit(turn, event);
}

static void on_success(turn_t *turn, int step)
{
    bool undo = turn->state->step[step].status == SB_STEP_COMPENSATING;
    sb_saga_event_t event =
        of_step(turn, undo ? SB_SAGA_EV_STEP_COMPENSATED : SB_SAGA_EV_STEP_COMPLETED, step);
    event.result = undo ? SB_SLICE_NONE : turn->input->result;
    emit(turn, event);
}

static void on_refusal(turn_t *turn, int step)
{
    sb_slice_t error = turn->input->error;
    trouble_t why = {.error = error, .error_class = turn->input->error_class};
    if (turn->state->step[step].status == SB_STEP_COMPENSATING) {
        retry_later(turn, step, why); /* there is no way further back: try again, in sight of an operator */
        call_for_attention(turn, step, error);
        return;
    }
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_FAILED, step);
    event.error = error;
    event.error_class = why.error_class;
    emit(turn, event);
    if (turn->state->past_pivot)
        call_for_attention(turn, step, error);
}

static void on_answer(turn_t *turn, int step)
{
    const sb_saga_input_t *in = turn->input;
    sb_step_state_t *st = &turn->state->step[step];
    int last_sent = st->attempt - (st->waiting ? 1 : 0);
    bool of_last = in->attempt == 0 || in->attempt >= last_sent;
    switch (in->outcome) {
    case SB_OUTCOME_SUCCESS:
        on_success(turn, step);
        break;
    case SB_OUTCOME_FAILURE:
        if (of_last)
            on_refusal(turn, step);
        break;
    case SB_OUTCOME_ERROR:
        if (of_last && !st->waiting)
            try_ended(turn, step, (trouble_t){in->error, in->error_class, in->attention, false});
        break;
    case SB_OUTCOME_PENDING:
        if (of_last && !st->waiting)
            st->wake_us = sb_state_try_ends_us(turn->definition, step, turn->now_us);
        break;
    }
}

/* Why a definitive answer to a closed round cannot be true together with what is recorded; NULL: it can. */
static const char *contradiction(const sb_step_state_t *st, const sb_saga_input_t *in)
{
    bool success = in->outcome == SB_OUTCOME_SUCCESS;
    if (in->round > st->round)
        return "an answer to a command that was never sent";
    if (in->round < st->round || st->status == SB_STEP_PENDING) {
        bool unsure = in->round >= 1 && in->round <= 16 && (st->unsure & 1u << (in->round - 1)) != 0;
        return success && unsure && in->direction == SB_FORWARD
                   ? "success of a round that was closed by a refusal, or given up"
                   : NULL;
    }
    bool was_undone = st->status == SB_STEP_COMPENSATING || st->status == SB_STEP_COMPENSATED;
    if (in->direction == SB_COMPENSATE)
        return was_undone || st->status == SB_STEP_SKIPPED ? NULL
                                                           : "an answer to an undo that was never sent";
    bool known_done = st->status == SB_STEP_COMPLETED || was_undone || st->status == SB_STEP_SKIPPED;
    if (success)
        return known_done && !st->was_unknown ? NULL
                                              : "success after the step was given up, refused or closed";
    return known_done && st->status != SB_STEP_SKIPPED && !st->was_unknown ? "refusal after success" : NULL;
}

static void note_anomaly(turn_t *turn, int step)
{
    const sb_saga_input_t *in = turn->input;
    const sb_step_state_t *st = &turn->state->step[step];
    bool definitive = in->outcome == SB_OUTCOME_SUCCESS || in->outcome == SB_OUTCOME_FAILURE;
    const char *why = definitive && !st->anomaly ? contradiction(st, in) : NULL;
    if (!why)
        return;
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_ANOMALY, step);
    event.direction = in->direction;
    event.round = in->round;
    event.attempt = in->attempt;
    event.error = in->error;
    event.reason = sb_slice(why);
    emit(turn, event);
}

static void on_reply(turn_t *turn)
{
    const sb_saga_input_t *in = turn->input;
    if (in->step < 0 || in->step >= turn->definition->step_count || turn->state->status == SB_SAGA_NONE)
        return;
    const sb_step_state_t *st = &turn->state->step[in->step];
    if (!sb_saga_is_over(turn->state) && sb_step_is_open(st) && in->direction == sb_step_direction(st) &&
        in->round == st->round)
        on_answer(turn, in->step);
    else
        note_anomaly(turn, in->step);
}

static void turn_back(turn_t *turn, sb_slice_t reason)
{
    sb_saga_event_t event = of_saga(turn, SB_SAGA_EV_COMPENSATING);
    event.reason = reason;
    emit(turn, event);
}

static void on_timer(turn_t *turn)
{
    const sb_definition_t *definition = turn->definition;
    if (turn->state->paused || turn->state->status == SB_SAGA_NONE || sb_saga_is_over(turn->state))
        return;
    if (definition->deadline_ms > 0 && sb_state_can_turn(definition, turn->state) &&
        turn->now_us >= sb_state_deadline_us(definition, turn->state))
        turn_back(turn, SB_SLICE("the saga's deadline passed"));
    for (int i = 0; i < definition->step_count; i++) {
        const sb_step_state_t *st = &turn->state->step[i];
        if (sb_step_is_out(st) && turn->now_us >= st->wake_us)
            try_ended(turn, i, (trouble_t){.error = SB_SLICE("no answer in time"), .silence = true});
    }
}

/* An operator's verb needs a saga that is open. */
static bool is_for_open(turn_t *turn)
{
    if (turn->state->status == SB_SAGA_NONE)
        refuse(turn, "it has not started");
    else if (sb_saga_is_over(turn->state))
        refuse(turn, "it is over");
    return !turn->out->refused;
}

static void on_cancel(turn_t *turn)
{
    bool compensating = turn->state->status == SB_SAGA_COMPENSATING;
    if (compensating && turn->state->rewind_to < 0)
        refuse(turn, "it is being compensated already");
    else if (!compensating && !sb_state_can_turn(turn->definition, turn->state))
        refuse(turn, "its pivot is done or under way: there is no way back");
    else
        turn_back(turn, turn->input->reason);
}

static void on_pause(turn_t *turn, bool pause)
{
    if (turn->state->paused == pause)
        refuse(turn, pause ? "it is paused already" : "it is not paused");
    else
        emit(turn, of_saga(turn, pause ? SB_SAGA_EV_PAUSED : SB_SAGA_EV_RESUMED));
}

static void retry_now(turn_t *turn, int step)
{
    const sb_step_state_t *st = &turn->state->step[step];
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_RETRIED, step);
    if (st->status == SB_STEP_FAILED) {
        event.round = (uint16_t)(st->round + 1);
        event.attempt = 1;
    } else if (!st->waiting && st->attempt < UINT16_MAX) {
        event.attempt = (uint16_t)(st->attempt + 1);
    }
    event.wake_us = turn->now_us;
    event.input = turn->input->input;
    event.by = turn->input->by;
    event.reason = turn->input->reason;
    emit(turn, event);
}

static bool fits_retry(const sb_saga_state_t *state, const sb_step_state_t *st)
{
    if (state->status == SB_SAGA_COMPENSATING)
        return st->status == SB_STEP_COMPENSATING;
    return st->status == SB_STEP_DISPATCHED || (st->status == SB_STEP_FAILED && state->past_pivot);
}

/* Why a verb finds nothing to do at a step; -1: at none of them. */
static const char *idle_at(const turn_t *turn, int step)
{
    if (step < 0)
        return "none of its steps is under way";
    if (step >= turn->definition->step_count)
        return "the saga has no such step";
    if (turn->state->status == SB_SAGA_COMPENSATING)
        return "that step is not being undone now";
    switch (turn->state->step[step].status) {
    case SB_STEP_PENDING:
        return "it has not come to that step yet";
    case SB_STEP_COMPLETED:
    case SB_STEP_SKIPPED:
        return "that step is done already";
    default:
        return "that step is not under way";
    }
}

static void on_retry(turn_t *turn)
{
    if (turn->state->paused) {
        refuse(turn, "it is paused: resume it first");
        return;
    }
    if (turn->input->input.ptr && turn->input->step < 0) {
        refuse(turn, "another input is for one step: name it");
        return;
    }
    bool any = false;
    for (int i = 0; i < turn->definition->step_count; i++) {
        if ((turn->input->step < 0 || turn->input->step == i) &&
            fits_retry(turn->state, &turn->state->step[i])) {
            retry_now(turn, i);
            any = true;
        }
    }
    if (!any)
        refuse(turn, idle_at(turn, turn->input->step));
}

/* Why it cannot go back to this step, which begins a group if it is in one; NULL: it can. */
static const char *cannot_rewind(const turn_t *turn, int step, int end)
{
    const sb_saga_state_t *state = turn->state;
    bool begun = false;
    if (state->paused)
        return "it is paused: resume it first";
    if (state->status == SB_SAGA_STARTED && !sb_state_can_turn(turn->definition, state))
        return "its pivot is done or under way: there is no way back";
    for (int i = step; i < end; i++)
        begun = begun || state->step[i].status != SB_STEP_PENDING;
    for (int i = 0; begun && i < step; i++)
        if (!sb_step_is_done(&state->step[i]))
            return "a step before that one was undone, or is not done yet: go back to that";
    return begun ? NULL : "it has not come to that step yet";
}

static void on_rewind(turn_t *turn)
{
    const sb_definition_t *definition = turn->definition;
    int asked = turn->input->step;
    if (asked < 0 || asked >= definition->step_count) {
        refuse(turn, "there is no such step to go back to");
        return;
    }
    int group = definition->step[asked].group; /* named by its first step */
    int step = group >= 0 ? group : asked;
    int end = step + 1;
    while (group >= 0 && end < definition->step_count && definition->step[end].group == group)
        end++;
    const char *why = cannot_rewind(turn, step, end);
    if (why || (turn->input->input.ptr && end - step > 1)) {
        refuse(turn, why ? why : "a group has an input for each of its steps: it cannot be given one");
        return;
    }
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_REWINDING, step);
    event.direction = SB_FORWARD;
    event.pause = turn->input->pause;
    event.input = turn->input->input;
    event.by = turn->input->by;
    event.reason = turn->input->reason;
    emit(turn, event);
}

static void on_skip(turn_t *turn)
{
    int step = turn->input->step;
    bool known = step >= 0 && step < turn->definition->step_count;
    const sb_step_state_t *st = known ? &turn->state->step[step] : NULL;
    bool fits =
        known && (sb_step_is_open(st) || (turn->state->status == SB_SAGA_STARTED &&
                                          (st->status == SB_STEP_PENDING || st->status == SB_STEP_FAILED)));
    if (!fits) {
        refuse(turn, known ? idle_at(turn, step) : "there is no such step to skip");
        return;
    }
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_SKIPPED, step);
    event.result = event.direction == SB_FORWARD ? turn->input->result : SB_SLICE_NONE;
    event.by = turn->input->by;
    event.reason = turn->input->reason;
    emit(turn, event);
}

static void on_undo(turn_t *turn)
{
    const sb_saga_state_t *state = turn->state;
    bool on_its_way = state->status == SB_SAGA_COMPENSATING && state->rewind_to < 0;
    bool can = state->status == SB_SAGA_COMPENSATING ||
               (state->status == SB_SAGA_COMPLETED && !state->past_pivot) ||
               sb_state_can_turn(turn->definition, state);
    if (on_its_way || state->status == SB_SAGA_COMPENSATED)
        return;
    if (can)
        turn_back(turn, turn->input->reason);
    else
        refuse(turn, state->status == SB_SAGA_FAILED
                         ? "it was closed by an operator"
                         : "its pivot is done or under way: there is no way back");
}

static void on_verb(turn_t *turn)
{
    if (turn->input->kind == SB_SAGA_IN_UNDO && turn->state->status != SB_SAGA_NONE) {
        on_undo(turn);
        return;
    }
    if (!is_for_open(turn))
        return;
    switch (turn->input->kind) {
    case SB_SAGA_IN_CANCEL:
        on_cancel(turn);
        break;
    case SB_SAGA_IN_PAUSE:
        on_pause(turn, true);
        break;
    case SB_SAGA_IN_RESUME:
        on_pause(turn, false);
        break;
    case SB_SAGA_IN_RETRY:
        on_retry(turn);
        break;
    case SB_SAGA_IN_REWIND:
        on_rewind(turn);
        break;
    case SB_SAGA_IN_SKIP:
        on_skip(turn);
        break;
    case SB_SAGA_IN_RESOLVE:
        emit(turn, of_saga(turn, SB_SAGA_EV_FAILED));
        break;
    case SB_SAGA_IN_MIGRATE:
        emit(turn, of_saga(turn, SB_SAGA_EV_MIGRATED));
        break;
    case SB_SAGA_IN_START:
    case SB_SAGA_IN_REPLY:
    case SB_SAGA_IN_TIMER:
    case SB_SAGA_IN_UNDO:
        break;
    }
}

/* The next step of the front that waits for its `when` to be decided; -1: none. */
static int next_conditional(const turn_t *turn)
{
    int from, end;
    sb_state_front(turn->definition, turn->state, &from, &end);
    for (int i = from; i < end; i++) {
        if (turn->state->step[i].status == SB_STEP_PENDING)
            return i; /* the others were dispatched by the fold */
    }
    return -1;
}

static void decide_conditions(turn_t *turn)
{
    for (int n = 0; n < turn->definition->step_count && !turn->state->paused; n++) {
        int step = next_conditional(turn);
        if (step < 0)
            return;
        bool skip = (turn->input->skip_mask & (UINT32_C(1) << step)) != 0;
        sb_saga_event_t event =
            of_step(turn, skip ? SB_SAGA_EV_STEP_SKIPPED : SB_SAGA_EV_STEP_DISPATCHED, step);
        if (skip)
            event.reason = SB_SLICE("its condition does not hold");
        emit(turn, event);
    }
}

/* All that had to be undone is. */
static void end_the_way_back(turn_t *turn)
{
    sb_saga_event_t event = {.kind = SB_SAGA_EV_COMPENSATED, .step = -1};
    if (turn->state->rewind_to >= 0) {
        event = of_step(turn, SB_SAGA_EV_REWOUND, turn->state->rewind_to);
        event.direction = SB_FORWARD;
    }
    emit(turn, event);
}

/* What follows from the state but needs an event. */
static void drive(turn_t *turn)
{
    const sb_definition_t *definition = turn->definition;
    sb_saga_state_t *state = turn->state;
    if (state->status == SB_SAGA_COMPENSATING) {
        for (int i = 0; i < definition->step_count; i++) {
            if (state->step[i].status == SB_STEP_DISPATCHED && state->step[i].waiting)
                give_up(turn, i, (trouble_t){.error = SB_SLICE("the saga turned back between two tries")});
        }
        if (!sb_state_any_open(definition, state) && sb_state_next_undo(definition, state) < 0)
            end_the_way_back(turn);
    }
    if (state->status == SB_SAGA_STARTED) {
        decide_conditions(turn);
        int from, end;
        sb_state_front(definition, state, &from, &end);
        if (from == definition->step_count)
            emit(turn, (sb_saga_event_t){.kind = SB_SAGA_EV_COMPLETED, .step = -1});
    }
}

/* Tries whose time has come are out from now. */
static void go_out(turn_t *turn)
{
    if (turn->state->paused || sb_saga_is_over(turn->state))
        return;
    for (int i = 0; i < turn->definition->step_count; i++) {
        sb_step_state_t *st = &turn->state->step[i];
        if (sb_step_is_open(st) && st->waiting && st->wake_us <= turn->now_us) {
            st->waiting = false;
            st->wake_us = sb_state_try_ends_us(turn->definition, i, turn->now_us);
        }
    }
}

static void add_order(sb_decision_t *out, const sb_step_state_t *st, int step)
{
    out->order[out->order_count++] =
        (sb_saga_order_t){.step = step,
                          .direction = sb_step_direction(st),
                          .round = st->round,
                          .attempt = st->attempt,
                          .forward_unknown = st->status == SB_STEP_COMPENSATING && st->was_unknown,
                          .deadline_us = st->wake_us};
}

/* Orders what is out now and was not before. */
static void order_new(turn_t *turn, const sb_saga_state_t *before)
{
    if (sb_saga_is_over(turn->state))
        return;
    for (int i = 0; i < turn->definition->step_count; i++) {
        const sb_step_state_t *was = &before->step[i], *is = &turn->state->step[i];
        bool same = sb_step_is_out(was) && was->status == is->status && was->round == is->round &&
                    was->attempt == is->attempt;
        if (sb_step_is_out(is) && !same)
            add_order(turn->out, is, i);
    }
}

static void clear(sb_decision_t *out)
{
    out->event_count = 0;
    out->order_count = 0;
    out->wake_us = 0;
    out->refused = false;
    out->refusal = NULL;
}

void sb_machine_decide(const sb_definition_t *definition, const sb_saga_state_t *state,
                       const sb_saga_input_t *input, int64_t now_us, sb_decision_t *out,
                       sb_saga_state_t *after)
{
    sb_saga_state_t own = {0};
    turn_t turn = {definition, input, now_us, after ? after : &own, out};
    *turn.state = *state;
    clear(out);
    if (input->kind == SB_SAGA_IN_START)
        on_start(&turn);
    else if (input->kind == SB_SAGA_IN_REPLY)
        on_reply(&turn);
    else if (input->kind == SB_SAGA_IN_TIMER)
        on_timer(&turn);
    else
        on_verb(&turn);
    if (!out->refused) {
        drive(&turn);
        go_out(&turn);
        order_new(&turn, state);
    }
    out->wake_us = sb_state_next_wake_us(definition, turn.state);
}

void sb_machine_open(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                     sb_decision_t *out, sb_saga_state_t *after)
{
    sb_saga_state_t own = {0}, *fresh = after ? after : &own;
    *fresh = *state;
    clear(out);
    for (int i = 0; i < definition->step_count && !fresh->paused && !sb_saga_is_over(fresh); i++) {
        sb_step_state_t *st = &fresh->step[i];
        if (!sb_step_is_open(st) || (st->waiting && st->wake_us > now_us))
            continue;
        st->waiting = false;
        st->wake_us = sb_state_try_ends_us(definition, i, now_us);
        add_order(out, st, i);
    }
    out->wake_us = sb_state_next_wake_us(definition, fresh);
}

/* ---- names and identities ---- */

static const char *const event_types[SB_SAGA_EV_COUNT] = {
#define SB_ROW(kind, type, is_public) [SB_SAGA_EV_##kind] = (type),
    SB_SAGA_EVENT_MAP(SB_ROW)
#undef SB_ROW
};

const char *sb_saga_event_type(sb_saga_event_kind_t kind)
{
    return event_types[kind];
}

bool sb_saga_event_kind_of(sb_slice_t type, sb_saga_event_kind_t *out)
{
    for (int i = 0; i < SB_SAGA_EV_COUNT; i++) {
        if (sb_slice_is(type, event_types[i])) {
            *out = (sb_saga_event_kind_t)i;
            return true;
        }
    }
    return false;
}

static const struct {
    const char *name;
    sb_saga_input_kind_t verb;
} verbs[] = {{"cancel", SB_SAGA_IN_CANCEL},   {"pause", SB_SAGA_IN_PAUSE},     {"resume", SB_SAGA_IN_RESUME},
             {"retry", SB_SAGA_IN_RETRY},     {"rewind", SB_SAGA_IN_REWIND},   {"skip", SB_SAGA_IN_SKIP},
             {"migrate", SB_SAGA_IN_MIGRATE}, {"resolve", SB_SAGA_IN_RESOLVE}, {"undo", SB_SAGA_IN_UNDO}};

bool sb_saga_verb_of(sb_slice_t name, sb_saga_input_kind_t *out)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (sb_slice_is(name, verbs[i].name)) {
            *out = verbs[i].verb;
            return true;
        }
    }
    return false;
}

const char *sb_saga_verb_name(sb_saga_input_kind_t verb)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (verbs[i].verb == verb)
            return verbs[i].name;
    return NULL;
}

const char *sb_saga_status_name(sb_saga_status_t status)
{
    static const char *const names[] = {"none",         "started",     "completed",
                                        "compensating", "compensated", "failed"};
    return names[status];
}

const char *sb_step_status_name(sb_step_status_t status)
{
    static const char *const names[] = {"pending", "dispatched",   "completed",   "failed",
                                        "unknown", "compensating", "compensated", "skipped"};
    return names[status];
}

sb_uuid_t sb_saga_command_id(const sb_uuid_t *saga_id, const char *step, sb_direction_t direction,
                             uint16_t round)
{
    char name[SB_STEP_NAME_MAX + 24];
    int length = snprintf(name, sizeof name, "%s/%s/%u", step,
                          direction == SB_FORWARD ? "forward" : "compensate", (unsigned)round);
    size_t used = (size_t)length < sizeof name ? (size_t)length : sizeof name - 1;
    return sb_uuid_v5(saga_id, name, used);
}
