/* A saga's state: the transition table, what a state says, and the fold of an event into it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine_internal.h"

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
    BY_REWIND, /* what was gone back over begins anew */
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
    {OF_SAGA, SB_SAGA_COMPLETED, BY_TURN, SB_SAGA_COMPENSATING},    /* by the saga it is a step of */
    {OF_SAGA, SB_SAGA_COMPENSATING, BY_TURN, SB_SAGA_COMPENSATING}, /* to another step, or to the end */
    {OF_SAGA, SB_SAGA_COMPENSATING, BY_UNDONE, SB_SAGA_COMPENSATED},
    {OF_SAGA, SB_SAGA_COMPENSATING, BY_REWIND, SB_SAGA_STARTED},
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
    {OF_STEP, SB_STEP_COMPLETED, BY_REWIND, SB_STEP_PENDING}, /* it has no undo */
    {OF_STEP, SB_STEP_UNKNOWN, BY_REWIND, SB_STEP_PENDING},   /* the same */
    {OF_STEP, SB_STEP_FAILED, BY_REWIND, SB_STEP_PENDING},
    {OF_STEP, SB_STEP_COMPENSATED, BY_REWIND, SB_STEP_PENDING},
    {OF_STEP, SB_STEP_SKIPPED, BY_REWIND, SB_STEP_PENDING},
};

bool sb_machine_move(size_t row, sb_machine_move_t *out)
{
    if (row >= sizeof moves / sizeof moves[0])
        return false;
    *out = (sb_machine_move_t){moves[row].subject == OF_SAGA, moves[row].from, moves[row].to};
    return true;
}

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

bool sb_step_is_done(const sb_step_state_t *st)
{
    return st->status == SB_STEP_COMPLETED || st->status == SB_STEP_SKIPPED;
}

bool sb_step_is_open(const sb_step_state_t *st)
{
    return st->status == SB_STEP_DISPATCHED || st->status == SB_STEP_COMPENSATING;
}

bool sb_step_is_out(const sb_step_state_t *st)
{
    return sb_step_is_open(st) && !st->waiting;
}

bool sb_state_any_open(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    for (int i = 0; i < definition->step_count; i++) {
        if (sb_step_is_open(&state->step[i]))
            return true;
    }
    return false;
}

sb_direction_t sb_step_direction(const sb_step_state_t *st)
{
    return st->status == SB_STEP_COMPENSATING ? SB_COMPENSATE : SB_FORWARD;
}

bool sb_state_is_endless(const sb_definition_t *definition, const sb_saga_state_t *state, int step)
{
    return sb_step_direction(&state->step[step]) == SB_COMPENSATE || definition->step[step].pivot ||
           definition->step[step].forward_only || state->past_pivot;
}

void sb_state_front(const sb_definition_t *definition, const sb_saga_state_t *state, int *from, int *end)
{
    int i = 0;
    while (i < definition->step_count && sb_step_is_done(&state->step[i]))
        i++;
    *from = i;
    int group = i < definition->step_count ? definition->step[i].group : -1;
    *end = i < definition->step_count ? i + 1 : i;
    while (group >= 0 && *end < definition->step_count && definition->step[*end].group == group)
        (*end)++;
}

int sb_state_next_undo(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    int first = state->rewind_to > 0 ? state->rewind_to : 0;
    for (int i = definition->step_count - 1; i >= first; i--) {
        const sb_step_state_t *st = &state->step[i];
        bool did = st->status == SB_STEP_COMPLETED || st->status == SB_STEP_UNKNOWN ||
                   (st->status == SB_STEP_SKIPPED && st->was_unknown);
        if (did && definition->step[i].compensation)
            return i;
    }
    return -1;
}

bool sb_state_can_turn(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    if (state->status != SB_SAGA_STARTED || state->past_pivot)
        return false;
    for (int i = 0; i < definition->step_count; i++) {
        if (definition->step[i].pivot && state->step[i].status == SB_STEP_DISPATCHED)
            return false;
    }
    return true;
}

int64_t sb_state_try_ends_us(const sb_definition_t *definition, int step, int64_t now_us)
{
    return now_us + (int64_t)definition->step[step].timeout_ms * US_PER_MS;
}

int64_t sb_state_deadline_us(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    return state->started_us + (int64_t)definition->deadline_ms * US_PER_MS;
}

int64_t sb_saga_turns_back_us(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    bool may = definition->deadline_ms > 0 && !state->paused && sb_state_can_turn(definition, state);
    return may ? sb_state_deadline_us(definition, state) : 0;
}

int64_t sb_state_next_wake_us(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    if (state->paused || sb_saga_is_over(state))
        return 0;
    int64_t wake = 0;
    if (definition->deadline_ms > 0 && sb_state_can_turn(definition, state))
        wake = sb_state_deadline_us(definition, state);
    for (int i = 0; i < definition->step_count; i++) {
        const sb_step_state_t *st = &state->step[i];
        if (sb_step_is_open(st) && (wake == 0 || st->wake_us < wake))
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
    if (cause == BY_DISPATCH || st->round == 0)
        st->round++;
    st->attempt = 1;
    st->wake_us = sb_state_try_ends_us(definition, step, at_us);
}

static void dispatch_front(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    int from, end;
    sb_state_front(definition, state, &from, &end);
    for (int i = from; i < end; i++) {
        if (state->step[i].status == SB_STEP_PENDING && !definition->step[i].when)
            start_try(definition, state, i, BY_DISPATCH, at_us);
    }
}

static void begin_undo(const sb_definition_t *definition, sb_saga_state_t *state, int64_t at_us)
{
    int step = sb_state_any_open(definition, state) ? -1 : sb_state_next_undo(definition, state);
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
        if (sb_step_is_out(&state->step[i]))
            state->step[i].wake_us = sb_state_try_ends_us(definition, i, at_us);
    }
}

/* The round is over, and another may follow. */
static void close_round(sb_step_state_t *st)
{
    bool unsure = st->status == SB_STEP_FAILED || st->was_unknown;
    if (unsure && st->round >= 1 && st->round <= 16)
        st->unsure = (uint16_t)(st->unsure | 1u << (st->round - 1));
}

static bool fold_rewinding(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if (!move(state, -1, BY_TURN, event->at_us))
        return false;
    state->rewind_to = event->step;
    state->rewind_pause = event->pause;
    return true;
}

static bool fold_rewound(const sb_definition_t *definition, sb_saga_state_t *state,
                         const sb_saga_event_t *event)
{
    if (event->step < 0 || event->step != state->rewind_to || sb_state_any_open(definition, state) ||
        !move(state, -1, BY_REWIND, event->at_us))
        return false;
    for (int i = event->step; i < definition->step_count; i++) {
        sb_step_state_t *st = &state->step[i];
        if (st->status == SB_STEP_PENDING)
            continue;
        close_round(st);
        if (!move(state, i, BY_REWIND, event->at_us))
            return false;
        st->attempt = 0;
        st->was_unknown = st->attention = false;
    }
    state->failed_step = -1;
    state->rewind_to = -1;
    state->paused = state->paused || state->rewind_pause;
    state->rewind_pause = false;
    state->started_us = event->at_us;
    return true;
}

static bool fold_turned(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if ((state->status == SB_SAGA_COMPENSATING && state->rewind_to < 0) || state->past_pivot)
        return false;
    state->rewind_to = -1;
    state->rewind_pause = false;
    return move(state, -1, BY_TURN, event->at_us);
}

static bool fold_failed(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    if (!move(state, event->step, event->unknown ? BY_GIVING_UP : BY_REFUSAL, event->at_us))
        return false;
    state->step[event->step].was_unknown = event->unknown;
    state->step[event->step].attention = false; /* past the pivot it is called for anew */
    if (state->status != SB_SAGA_STARTED || state->past_pivot)
        return true;
    state->failed_step = event->step;
    return move(state, -1, BY_TURN, event->at_us);
}

static bool fold_retried(sb_saga_state_t *state, const sb_saga_event_t *event)
{
    sb_step_state_t *st = &state->step[event->step];
    bool reopened = st->status == SB_STEP_FAILED;
    if (reopened)
        close_round(st);
    if (event->direction != sb_step_direction(st) || !move(state, event->step, BY_RETRY, event->at_us))
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
    if (event->direction != sb_step_direction(st) || !move(state, event->step, BY_SKIP, event->at_us))
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
        return fits && (!event->voided || move(state, -1, BY_TURN, event->at_us));
    }
    bool undone = event->kind == SB_SAGA_EV_COMPENSATING && state->status == SB_SAGA_COMPLETED;
    bool fits_end = event->kind == SB_SAGA_EV_ANOMALY || undone;
    if (state->status == SB_SAGA_NONE || (sb_saga_is_over(state) && !fits_end))
        return false;
    switch (event->kind) {
    case SB_SAGA_EV_COMPLETED:
        return move(state, -1, BY_SUCCESS, event->at_us);
    case SB_SAGA_EV_COMPENSATING:
        return fold_turned(state, event);
    case SB_SAGA_EV_COMPENSATED:
        return state->rewind_to < 0 && move(state, -1, BY_UNDONE, event->at_us);
    case SB_SAGA_EV_REWINDING:
        return event->step >= 0 && event->step < definition->step_count && fold_rewinding(state, event);
    case SB_SAGA_EV_REWOUND:
        return fold_rewound(definition, state, event);
    case SB_SAGA_EV_FAILED:
        return move(state, -1, BY_RESOLVE, event->at_us);
    case SB_SAGA_EV_MIGRATED: /* what was done is the same in both definitions */
        return true;
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
        sb_step_is_done(&state->step[step]))
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

/* ---- the state as a value ---- */

void sb_saga_state_init(sb_saga_state_t *state)
{
    memset(state, 0, sizeof *state);
    state->failed_step = -1;
    state->rewind_to = -1;
}

static bool step_equal(const sb_step_state_t *a, const sb_step_state_t *b)
{
    return a->status == b->status && a->round == b->round && a->attempt == b->attempt &&
           a->was_unknown == b->was_unknown && a->attention == b->attention && a->anomaly == b->anomaly &&
           a->since_us == b->since_us && a->unsure == b->unsure;
}

static void shift(int64_t *time_us, int64_t by_us)
{
    if (*time_us != 0)
        *time_us += by_us;
}

void sb_saga_state_shift(sb_saga_state_t *state, int64_t by_us)
{
    shift(&state->started_us, by_us);
    for (int i = 0; i < SB_STEPS_MAX; i++) {
        shift(&state->step[i].since_us, by_us);
        shift(&state->step[i].wake_us, by_us);
    }
}

bool sb_saga_state_equal(const sb_saga_state_t *a, const sb_saga_state_t *b)
{
    for (int i = 0; i < SB_STEPS_MAX; i++) {
        if (!step_equal(&a->step[i], &b->step[i]))
            return false;
    }
    return a->status == b->status && a->paused == b->paused && a->attention == b->attention &&
           a->past_pivot == b->past_pivot && a->version == b->version && a->started_us == b->started_us &&
           a->failed_step == b->failed_step && a->rewind_to == b->rewind_to &&
           a->rewind_pause == b->rewind_pause;
}
