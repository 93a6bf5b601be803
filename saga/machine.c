/* How it hangs together: decide emits events, and each is folded into `after` as it is emitted, so that the
 * state after a decision is the fold of its events by construction. What a fold implies (the next dispatch,
 * the next undo) is in `settle`; what needs an event of its own (the end, giving up) is in `drive`. Commands
 * to send are the difference between the two states.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define US_PER_MS 1000

/* ---- the transition table ---- */

typedef enum subject { OF_SAGA, OF_STEP } subject_t;

typedef enum cause {
    BY_START,
    BY_DISPATCH,
    BY_SUCCESS,
    BY_REFUSAL,
    BY_GIVING_UP,
    BY_RETRY,
    BY_SKIP,
    BY_TURN, /* of the saga: back; of a step: its undo begins */
    BY_UNDONE,
    BY_RESOLVE
} cause_t;

typedef struct move {
    subject_t subject;
    int from;
    cause_t cause;
    int to;
} move_t;

static const move_t moves[] = {
    {OF_SAGA, SB_SAGA_NONE, BY_START, SB_SAGA_STARTED},
    {OF_SAGA, SB_SAGA_STARTED, BY_SUCCESS, SB_SAGA_COMPLETED},
    {OF_SAGA, SB_SAGA_STARTED, BY_TURN, SB_SAGA_COMPENSATING},
    {OF_SAGA, SB_SAGA_STARTED, BY_RESOLVE, SB_SAGA_FAILED},
    {OF_SAGA, SB_SAGA_COMPENSATING, BY_UNDONE, SB_SAGA_COMPENSATED},
    {OF_SAGA, SB_SAGA_COMPENSATING, BY_RESOLVE, SB_SAGA_FAILED},

    {OF_STEP, SB_STEP_PENDING, BY_DISPATCH, SB_STEP_DISPATCHED},
    {OF_STEP, SB_STEP_PENDING, BY_SKIP, SB_STEP_SKIPPED},
    {OF_STEP, SB_STEP_DISPATCHED, BY_SUCCESS, SB_STEP_COMPLETED},
    {OF_STEP, SB_STEP_DISPATCHED, BY_REFUSAL, SB_STEP_FAILED},
    {OF_STEP, SB_STEP_DISPATCHED, BY_GIVING_UP, SB_STEP_UNKNOWN},
    {OF_STEP, SB_STEP_DISPATCHED, BY_RETRY, SB_STEP_DISPATCHED},
    {OF_STEP, SB_STEP_DISPATCHED, BY_SKIP, SB_STEP_SKIPPED},
    {OF_STEP, SB_STEP_FAILED, BY_RETRY, SB_STEP_DISPATCHED}, /* after the pivot: the next round */
    {OF_STEP, SB_STEP_FAILED, BY_SKIP, SB_STEP_SKIPPED},
    {OF_STEP, SB_STEP_COMPLETED, BY_TURN, SB_STEP_COMPENSATING},
    {OF_STEP, SB_STEP_UNKNOWN, BY_TURN, SB_STEP_COMPENSATING},
    {OF_STEP, SB_STEP_SKIPPED, BY_TURN, SB_STEP_COMPENSATING}, /* it was out when it was skipped */
    {OF_STEP, SB_STEP_COMPENSATING, BY_RETRY, SB_STEP_COMPENSATING},
    {OF_STEP, SB_STEP_COMPENSATING, BY_UNDONE, SB_STEP_COMPENSATED},
    {OF_STEP, SB_STEP_COMPENSATING, BY_SKIP, SB_STEP_SKIPPED},
};

static const move_t *find_move(subject_t subject, int from, cause_t cause)
{
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        if (moves[i].subject == subject && moves[i].from == from && moves[i].cause == cause)
            return &moves[i];
    }
    return NULL;
}

/* The only place that changes a status. False: the table does not know the move, nothing is changed. */
static bool move(sb_saga_state_t *state, int step, cause_t cause, int64_t at_us)
{
    if (step < 0) {
        const move_t *found = find_move(OF_SAGA, (int)state->status, cause);
        if (found)
            state->status = (sb_saga_status_t)found->to;
        return found != NULL;
    }
    sb_step_state_t *st = &state->step[step];
    const move_t *found = find_move(OF_STEP, (int)st->status, cause);
    if (!found)
        return false;
    if ((int)st->status != found->to)
        st->since_us = at_us;
    st->status = (sb_step_status_t)found->to;
    st->waiting = false;
    st->wake_us = 0;
    return true;
}

/* ---- what a state says ---- */

bool sb_saga_is_over(const sb_saga_state_t *state)
{
    return state->status == SB_SAGA_COMPLETED || state->status == SB_SAGA_COMPENSATED ||
           state->status == SB_SAGA_FAILED;
}

static bool is_done(const sb_step_state_t *st)
{
    return st->status == SB_STEP_COMPLETED || st->status == SB_STEP_SKIPPED;
}

/* A command of the step is out, or between two tries. */
static bool is_open(const sb_step_state_t *st)
{
    return st->status == SB_STEP_DISPATCHED || st->status == SB_STEP_COMPENSATING;
}

static bool is_out(const sb_step_state_t *st)
{
    return is_open(st) && !st->waiting;
}

static bool any_open(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    for (int i = 0; i < definition->step_count; i++) {
        if (is_open(&state->step[i]))
            return true;
    }
    return false;
}

static sb_direction_t direction_of(const sb_step_state_t *st)
{
    return st->status == SB_STEP_COMPENSATING ? SB_COMPENSATE : SB_FORWARD;
}

/* Tried until it is known how it ended. */
static bool is_endless(const sb_definition_t *definition, const sb_saga_state_t *state, int step)
{
    return direction_of(&state->step[step]) == SB_COMPENSATE || definition->step[step].pivot ||
           definition->step[step].forward_only || state->past_pivot;
}

/* The steps whose turn it is: from the first that is not done, to the end of its group. */
static void front(const sb_definition_t *definition, const sb_saga_state_t *state, int *from, int *end)
{
    int i = 0;
    while (i < definition->step_count && is_done(&state->step[i]))
        i++;
    *from = i;
    int group = i < definition->step_count ? definition->step[i].group : -1;
    *end = i < definition->step_count ? i + 1 : i;
    while (group >= 0 && *end < definition->step_count && definition->step[*end].group == group)
        (*end)++;
}

/* The newest step that is to be undone; -1: none. */
static int next_undo(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    for (int i = definition->step_count - 1; i >= 0; i--) {
        const sb_step_state_t *st = &state->step[i];
        bool did = st->status == SB_STEP_COMPLETED || st->status == SB_STEP_UNKNOWN ||
                   (st->status == SB_STEP_SKIPPED && st->was_unknown);
        if (did && definition->step[i].compensation)
            return i;
    }
    return -1;
}

/* Not once the pivot is out: whether there is a way back is then for the participant to say. */
static bool can_turn(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    if (state->status != SB_SAGA_STARTED || state->past_pivot)
        return false;
    for (int i = 0; i < definition->step_count; i++) {
        if (definition->step[i].pivot && state->step[i].status == SB_STEP_DISPATCHED)
            return false;
    }
    return true;
}

static int64_t try_ends_us(const sb_definition_t *definition, int step, int64_t now_us)
{
    return now_us + (int64_t)definition->step[step].timeout_ms * US_PER_MS;
}

static int64_t deadline_us(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    return state->started_us + (int64_t)definition->deadline_ms * US_PER_MS;
}

static int64_t next_wake_us(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    if (state->paused || sb_saga_is_over(state))
        return 0;
    int64_t wake = 0;
    if (definition->deadline_ms > 0 && can_turn(definition, state))
        wake = deadline_us(definition, state);
    for (int i = 0; i < definition->step_count; i++) {
        const sb_step_state_t *st = &state->step[i];
        if (is_open(st) && (wake == 0 || st->wake_us < wake))
            wake = st->wake_us;
    }
    return wake;
}

/* ---- evolve ---- */

static void start_try(const sb_definition_t *definition, sb_saga_state_t *state, int step, cause_t cause,
                      int64_t at_us)
{
    if (!move(state, step, cause, at_us))
        return;
    sb_step_state_t *st = &state->step[step];
    if (st->round == 0)
        st->round = 1;
    st->attempt = 1;
    st->wake_us = try_ends_us(definition, step, at_us);
}

static void dispatch_front(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    int from, end;
    front(definition, state, &from, &end);
    for (int i = from; i < end; i++) {
        if (state->step[i].status == SB_STEP_PENDING && !definition->step[i].when)
            start_try(definition, state, i, BY_DISPATCH, at_us);
    }
}

static void begin_undo(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    int step = any_open(definition, state) ? -1 : next_undo(definition, state);
    if (step >= 0)
        start_try(definition, state, step, BY_TURN, at_us);
}

/* What follows from a state by itself, without an event. */
static void settle(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    bool over = sb_saga_is_over(state);
    state->attention = false;
    for (int i = 0; i < definition->step_count; i++)
        state->attention = state->attention || (state->step[i].attention && !over);
    state->paused = state->paused && !over;
    if (state->paused)
        return;
    if (state->status == SB_SAGA_STARTED)
        dispatch_front(definition, state, at_us);
    else if (state->status == SB_SAGA_COMPENSATING)
        begin_undo(definition, state, at_us);
}

static void fold_resumed(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    state->paused = false;
    for (int i = 0; i < definition->step_count; i++) {
        if (is_out(&state->step[i]))
            state->step[i].wake_us = try_ends_us(definition, i, at_us);
    }
}

static bool fold_failed(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if (!move(state, event->step, event->unknown ? BY_GIVING_UP : BY_REFUSAL, event->at_us))
        return false;
    state->step[event->step].was_unknown = event->unknown;
    if (state->status != SB_SAGA_STARTED || state->past_pivot)
        return true;
    state->failed_step = event->step;
    return move(state, -1, BY_TURN, event->at_us);
}

static bool fold_retried(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    sb_step_state_t *st = &state->step[event->step];
    bool reopened = st->status == SB_STEP_FAILED;
    if (event->direction != direction_of(st) || !move(state, event->step, BY_RETRY, event->at_us))
        return false;
    st->round = event->round;
    st->attempt = event->attempt;
    st->waiting = true;
    st->wake_us = event->wake_us;
    st->attention = st->attention && !reopened;
    return true;
}

static bool fold_skipped(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    sb_step_state_t *st = &state->step[event->step];
    bool was_out = st->status == SB_STEP_DISPATCHED;
    if (event->direction != direction_of(st) || !move(state, event->step, BY_SKIP, event->at_us))
        return false;
    st->was_unknown = was_out;
    st->attention = false;
    return true;
}

static bool fold_ended(sb_saga_state_t *state, const sb_saga_event_t *event, cause_t cause)
{
    if (!move(state, event->step, cause, event->at_us))
        return false;
    state->step[event->step].attention = false;
    return true;
}

static bool fold_step(const sb_definition_t *definition, sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if (event->step < 0 || event->step >= definition->step_count)
        return false;
    switch (event->kind) {
    case SB_SAGA_EV_STEP_DISPATCHED:
        if (state->status != SB_SAGA_STARTED || state->step[event->step].status != SB_STEP_PENDING)
            return false;
        start_try(definition, state, event->step, BY_DISPATCH, event->at_us);
        return true;
    case SB_SAGA_EV_STEP_COMPLETED:
        return fold_ended(state, event, BY_SUCCESS);
    case SB_SAGA_EV_STEP_FAILED:
        return fold_failed(state, event);
    case SB_SAGA_EV_STEP_RETRIED:
        return fold_retried(state, event);
    case SB_SAGA_EV_STEP_SKIPPED:
        return fold_skipped(state, event);
    case SB_SAGA_EV_STEP_COMPENSATED:
        return fold_ended(state, event, BY_UNDONE);
    case SB_SAGA_EV_ATTENTION:
        state->step[event->step].attention = true;
        return true;
    case SB_SAGA_EV_ANOMALY:
        state->step[event->step].anomaly = true;
        return true;
    default:
        return false;
    }
}

static bool fold(const sb_definition_t *definition, sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if (event->kind == SB_SAGA_EV_STARTED) {
        bool fits = move(state, -1, BY_START, event->at_us);
        state->started_us = fits ? event->at_us : state->started_us;
        return fits;
    }
    if (state->status == SB_SAGA_NONE || (sb_saga_is_over(state) && event->kind != SB_SAGA_EV_ANOMALY))
        return false;
    switch (event->kind) {
    case SB_SAGA_EV_COMPLETED:
        return move(state, -1, BY_SUCCESS, event->at_us);
    case SB_SAGA_EV_COMPENSATING:
        return move(state, -1, BY_TURN, event->at_us);
    case SB_SAGA_EV_COMPENSATED:
        return move(state, -1, BY_UNDONE, event->at_us);
    case SB_SAGA_EV_FAILED:
        return move(state, -1, BY_RESOLVE, event->at_us);
    case SB_SAGA_EV_PAUSED:
        state->paused = true;
        return true;
    case SB_SAGA_EV_RESUMED:
        fold_resumed(definition, state, event->at_us);
        return true;
    default:
        return fold_step(definition, state, event);
    }
}

static void pass_pivot(const sb_definition_t *definition, sb_saga_state_t *state, int step)
{
    if (state->status == SB_SAGA_STARTED && step >= 0 && definition->step[step].pivot &&
        is_done(&state->step[step]))
        state->past_pivot = true;
}

sb_code_t sb_machine_evolve(const sb_definition_t *definition, sb_saga_state_t *state,
                            const sb_saga_event_t *event, sb_error_t *err)
{
    if (!fold(definition, state, event)) {
        bool of_step = event->step >= 0 && event->step < definition->step_count;
        return sb_fail(err, SB_CORRUPT,
                       "saga %s, event %d: %s of step %d does not follow on saga %s, step %s",
                       definition->name, state->version + 1, sb_saga_event_type(event->kind), event->step,
                       sb_saga_status_name(state->status),
                       of_step ? sb_step_status_name(state->step[event->step].status) : "unknown");
    }
    pass_pivot(definition, state, event->step);
    settle(definition, state, event->at_us);
    state->version++;
    return SB_OK;
}

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
                             .direction = direction_of(st),
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

static void retry_later(turn_t *turn, int step, sb_slice_t error)
{
    const sb_step_definition_t *plan = &turn->definition->step[step];
    const sb_step_state_t *st = &turn->state->step[step];
    const sb_retry_policy_t *policy = direction_of(st) == SB_COMPENSATE ? &plan->undo_retry : &plan->retry;
    uint16_t tries = st->attempt;
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_RETRIED, step);
    event.attempt = tries < UINT16_MAX ? (uint16_t)(tries + 1) : tries;
    event.wake_us = turn->now_us + (int64_t)sb_retry_delay_ms(policy, tries, turn->input->random) * US_PER_MS;
    event.error = error;
    emit(turn, event);
    if (tries >= SB_UNDO_ATTENTION && is_endless(turn->definition, turn->state, step))
        call_for_attention(turn, step, error);
}

static void give_up(turn_t *turn, int step, sb_slice_t error)
{
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_FAILED, step);
    event.unknown = true;
    event.error = error;
    emit(turn, event);
}

/* A try ended without saying what happened. */
static void try_ended(turn_t *turn, int step, sb_slice_t error)
{
    const sb_step_state_t *st = &turn->state->step[step];
    bool settling = turn->state->status == SB_SAGA_COMPENSATING && st->status == SB_STEP_DISPATCHED;
    bool again = is_endless(turn->definition, turn->state, step) ||
                 (!settling && sb_retry_allowed(&turn->definition->step[step].retry, st->attempt));
    if (again)
        retry_later(turn, step, error);
    else
        give_up(turn, step, error);
}

static void on_start(turn_t *turn)
{
    if (turn->state->status != SB_SAGA_NONE)
        refuse(turn, "it has started already");
    else
        emit(turn, of_saga(turn, SB_SAGA_EV_STARTED));
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
    if (turn->state->step[step].status == SB_STEP_COMPENSATING) {
        retry_later(turn, step, error); /* there is no way further back: try again, in sight of an operator */
        call_for_attention(turn, step, error);
        return;
    }
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_FAILED, step);
    event.error = error;
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
            try_ended(turn, step, in->error);
        break;
    case SB_OUTCOME_PENDING:
        if (of_last && !st->waiting)
            st->wake_us = try_ends_us(turn->definition, step, turn->now_us);
        break;
    }
}

/* Why a definitive answer to a closed round cannot be true together with what is recorded; NULL: it can. */
static const char *contradiction(const sb_step_state_t *st, const sb_saga_input_t *in)
{
    bool success = in->outcome == SB_OUTCOME_SUCCESS;
    if (in->round > st->round)
        return "an answer to a command that was never sent";
    if (in->round < st->round)
        return success ? "success of a round that was closed by a refusal" : NULL;
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
    if (!sb_saga_is_over(turn->state) && is_open(st) && in->direction == direction_of(st) &&
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
    if (definition->deadline_ms > 0 && can_turn(definition, turn->state) &&
        turn->now_us >= deadline_us(definition, turn->state))
        turn_back(turn, SB_SLICE("the saga's deadline passed"));
    for (int i = 0; i < definition->step_count; i++) {
        const sb_step_state_t *st = &turn->state->step[i];
        if (is_out(st) && turn->now_us >= st->wake_us)
            try_ended(turn, i, SB_SLICE("no answer in time"));
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
    if (turn->state->status == SB_SAGA_COMPENSATING)
        refuse(turn, "it is being compensated already");
    else if (!can_turn(turn->definition, turn->state))
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

static void on_retry(turn_t *turn)
{
    if (turn->state->paused) {
        refuse(turn, "it is paused: resume it first");
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
        refuse(turn, "there is no such step to try again");
}

static void on_skip(turn_t *turn)
{
    int step = turn->input->step;
    bool known = step >= 0 && step < turn->definition->step_count;
    const sb_step_state_t *st = known ? &turn->state->step[step] : NULL;
    bool fits = known && (is_open(st) || (turn->state->status == SB_SAGA_STARTED &&
                                          (st->status == SB_STEP_PENDING || st->status == SB_STEP_FAILED)));
    if (!fits) {
        refuse(turn, "there is no such step to skip");
        return;
    }
    sb_saga_event_t event = of_step(turn, SB_SAGA_EV_STEP_SKIPPED, step);
    event.result = event.direction == SB_FORWARD ? turn->input->result : SB_SLICE_NONE;
    event.by = turn->input->by;
    event.reason = turn->input->reason;
    emit(turn, event);
}

static void on_verb(turn_t *turn)
{
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
    case SB_SAGA_IN_SKIP:
        on_skip(turn);
        break;
    case SB_SAGA_IN_RESOLVE:
        emit(turn, of_saga(turn, SB_SAGA_EV_FAILED));
        break;
    case SB_SAGA_IN_START:
    case SB_SAGA_IN_REPLY:
    case SB_SAGA_IN_TIMER:
        break;
    }
}

/* The next step of the front that waits for its `when` to be decided; -1: none. */
static int next_conditional(const turn_t *turn)
{
    int from, end;
    front(turn->definition, turn->state, &from, &end);
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

/* What follows from the state but needs an event. */
static void drive(turn_t *turn)
{
    const sb_definition_t *definition = turn->definition;
    sb_saga_state_t *state = turn->state;
    if (state->status == SB_SAGA_STARTED) {
        decide_conditions(turn);
        int from, end;
        front(definition, state, &from, &end);
        if (from == definition->step_count)
            emit(turn, (sb_saga_event_t){.kind = SB_SAGA_EV_COMPLETED, .step = -1});
    }
    if (state->status == SB_SAGA_COMPENSATING) {
        for (int i = 0; i < definition->step_count; i++) {
            if (state->step[i].status == SB_STEP_DISPATCHED && state->step[i].waiting)
                give_up(turn, i, SB_SLICE("the saga turned back between two tries"));
        }
        if (!any_open(definition, state) && next_undo(definition, state) < 0)
            emit(turn, (sb_saga_event_t){.kind = SB_SAGA_EV_COMPENSATED, .step = -1});
    }
}

/* Tries whose time has come are out from now. */
static void go_out(turn_t *turn)
{
    if (turn->state->paused || sb_saga_is_over(turn->state))
        return;
    for (int i = 0; i < turn->definition->step_count; i++) {
        sb_step_state_t *st = &turn->state->step[i];
        if (is_open(st) && st->waiting && st->wake_us <= turn->now_us) {
            st->waiting = false;
            st->wake_us = try_ends_us(turn->definition, i, turn->now_us);
        }
    }
}

static void add_order(sb_decision_t *out, const sb_step_state_t *st, int step)
{
    out->order[out->order_count++] =
        (sb_saga_order_t){.step = step,
                          .direction = direction_of(st),
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
        bool same = is_out(was) && was->status == is->status && was->round == is->round &&
                    was->attempt == is->attempt;
        if (is_out(is) && !same)
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
    sb_saga_state_t own;
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
    out->wake_us = next_wake_us(definition, turn.state);
}

void sb_machine_open(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                     sb_decision_t *out, sb_saga_state_t *after)
{
    sb_saga_state_t own, *fresh = after ? after : &own;
    *fresh = *state;
    clear(out);
    for (int i = 0; i < definition->step_count && !fresh->paused && !sb_saga_is_over(fresh); i++) {
        sb_step_state_t *st = &fresh->step[i];
        if (!is_open(st) || (st->waiting && st->wake_us > now_us))
            continue;
        st->waiting = false;
        st->wake_us = try_ends_us(definition, i, now_us);
        add_order(out, st, i);
    }
    out->wake_us = next_wake_us(definition, fresh);
}

/* ---- names and identities ---- */

void sb_saga_state_init(sb_saga_state_t *state)
{
    memset(state, 0, sizeof *state);
    state->failed_step = -1;
}

static bool step_equal(const sb_step_state_t *a, const sb_step_state_t *b)
{
    return a->status == b->status && a->round == b->round && a->attempt == b->attempt &&
           a->was_unknown == b->was_unknown && a->attention == b->attention && a->anomaly == b->anomaly &&
           a->since_us == b->since_us;
}

bool sb_saga_state_equal(const sb_saga_state_t *a, const sb_saga_state_t *b)
{
    for (int i = 0; i < SB_STEPS_MAX; i++) {
        if (!step_equal(&a->step[i], &b->step[i]))
            return false;
    }
    return a->status == b->status && a->paused == b->paused && a->attention == b->attention &&
           a->past_pivot == b->past_pivot && a->version == b->version && a->started_us == b->started_us &&
           a->failed_step == b->failed_step;
}

static const struct {
    const char *type;
    bool is_public;
} event_types[SB_SAGA_EV_COUNT] = {
#define SB_ROW(kind, type, is_public) [SB_SAGA_EV_##kind] = {type, is_public},
    SB_SAGA_EVENT_MAP(SB_ROW)
#undef SB_ROW
};

const char *sb_saga_event_type(sb_saga_event_kind_t kind)
{
    return event_types[kind].type;
}

bool sb_saga_event_is_public(sb_saga_event_kind_t kind)
{
    return event_types[kind].is_public;
}

bool sb_saga_event_kind_of(sb_slice_t type, sb_saga_event_kind_t *out)
{
    for (int i = 0; i < SB_SAGA_EV_COUNT; i++) {
        if (sb_slice_is(type, event_types[i].type)) {
            *out = (sb_saga_event_kind_t)i;
            return true;
        }
    }
    return false;
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
