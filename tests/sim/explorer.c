/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/explorer.h"
#include "base/json.h"
#include "saga/event_body.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>

#define STEPS       4
#define STATES_MAX  4000000u
#define NOW_US      1000000
#define US_PER_MS   1000
#define ATTEMPT_CAP (SB_UNDO_ATTENTION + 1) /* later tries are all alike */

/* ---- the world ---- */

typedef enum effect { NOTHING, DONE, REFUSED, UNDONE, VOIDED } effect_t;

enum {                  /* messages under way, of one step */
       DO = 1,          /* the forward command, last try */
       DO_OLD = 2,      /* an earlier try of it */
       DO_OK = 4,       /* its replies */
       DO_NO = 8,       /* … a refusal of the last try */
       DO_NO_OLD = 16,  /* … of an earlier one */
       DO_ERROR = 32,   /* … of the last try */
       UNDO = 64,       /* the undo, any try */
       UNDO_OK = 128,   /* its replies */
       UNDO_ERROR = 256 /* … could not say */
};

typedef struct world_step {
    uint8_t status, round, attempt, effect;
    bool was_unknown, attention, anomaly, waiting;
    uint16_t wake_ms; /* from now */
    uint16_t messages;
    uint16_t unsure;
} world_step_t;

typedef struct world {
    uint8_t status, failed_step;
    bool paused, past_pivot;
    bool cancelled, paused_once, retried, skipped, resolved, rewound; /* what the operator has done */
    bool undone, voided;                                              /* … and the saga it is a step of */
    uint8_t rewind_to;
    bool rewind_pause;
    world_step_t step[STEPS];
} world_t;

_Static_assert(sizeof(world_t) == 14 + STEPS * sizeof(world_step_t), "worlds are compared as bytes");

typedef struct action {
    uint8_t kind, step, choice, skip_mask;
} action_t;

typedef enum action_kind {
    ACT_START,          /* choice: 1 to do nothing */
    ACT_DELIVER_DO,     /* choice: what the participant says the first time */
    ACT_DELIVER_DO_OLD, /* the same */
    ACT_DELIVER_UNDO,
    ACT_REPLY, /* choice: bit of the message */
    ACT_TIMER,
    ACT_LATE_TIMER,
    ACT_CRASH,
    ACT_CANCEL,
    ACT_PAUSE,
    ACT_RESUME,
    ACT_RETRY,
    ACT_SKIP,
    ACT_RESOLVE,
    ACT_REWIND, /* choice: 1 to wait there */
    ACT_UNDO,
    ACT_KINDS
} action_kind_t;

typedef struct node {
    world_t world;
    uint32_t parent;
    action_t action;
} node_t;

typedef struct edge {
    uint32_t from, to;
} edge_t;

typedef struct walk {
    const model_t *model;
    const mutant_t *mutant;
    sb_definition_t *definition;
    sb_definition_t given; /* to the machine: the definition, but for what a mutant did to it */
    node_t *node;
    size_t count, node_cap;
    edge_t *edge;
    size_t edges, edge_cap;
    uint32_t *table; /* index + 1 by hash */
    size_t table_size;
    sb_buf_t body, scratch;
    const char *broken;
} walk_t;

static sb_saga_state_t state_of(const walk_t *walk, const world_t *world)
{
    sb_saga_state_t state;
    sb_saga_state_init(&state);
    state.status = (sb_saga_status_t)world->status;
    state.paused = world->paused;
    state.past_pivot = world->past_pivot;
    state.failed_step = world->failed_step == UINT8_MAX ? -1 : world->failed_step;
    state.rewind_to = world->rewind_to == UINT8_MAX ? -1 : world->rewind_to;
    state.rewind_pause = world->rewind_pause;
    state.started_us = NOW_US;
    for (int i = 0; i < walk->definition->step_count; i++) {
        const world_step_t *w = &world->step[i];
        state.step[i] = (sb_step_state_t){.status = (sb_step_status_t)w->status,
                                          .round = w->round,
                                          .attempt = w->attempt,
                                          .was_unknown = w->was_unknown,
                                          .attention = w->attention,
                                          .anomaly = w->anomaly,
                                          .unsure = w->unsure,
                                          .since_us = NOW_US,
                                          .waiting = w->waiting,
                                          .wake_us = w->wake_ms ? NOW_US + w->wake_ms * US_PER_MS : 0};
        state.attention = state.attention || (w->attention && !sb_saga_is_over(&state));
    }
    return state;
}

static void keep_state(const walk_t *walk, world_t *world, const sb_saga_state_t *state, int64_t now_us)
{
    world->status = (uint8_t)state->status;
    world->paused = state->paused;
    world->past_pivot = state->past_pivot;
    world->failed_step = state->failed_step < 0 ? UINT8_MAX : (uint8_t)state->failed_step;
    world->rewind_to = state->rewind_to < 0 ? UINT8_MAX : (uint8_t)state->rewind_to;
    world->rewind_pause = state->rewind_pause;
    for (int i = 0; i < walk->definition->step_count; i++) {
        const sb_step_state_t *st = &state->step[i];
        world_step_t *w = &world->step[i];
        int64_t wake_ms = st->wake_us ? (st->wake_us - now_us) / US_PER_MS : 0;
        w->status = (uint8_t)st->status;
        w->round = (uint8_t)st->round;
        w->attempt = (uint8_t)(st->attempt < ATTEMPT_CAP ? st->attempt : ATTEMPT_CAP);
        w->was_unknown = st->was_unknown;
        w->attention = st->attention;
        w->anomaly = st->anomaly;
        w->unsure = st->unsure;
        w->waiting = st->waiting;
        w->wake_ms = (uint16_t)(wake_ms > 0 ? wake_ms : st->wake_us ? 1 : 0);
    }
}

/* Forgets what can make no difference any more, so that worlds that will go the same way are one. */
static void simplify(world_t *world)
{
    for (int i = 0; i < STEPS; i++) {
        world_step_t *w = &world->step[i];
        uint16_t m = w->messages;
        bool dispatched = w->status == SB_STEP_DISPATCHED, undoing = w->status == SB_STEP_COMPENSATING;
        if (!dispatched) {
            m = (uint16_t)(m | (m & DO_OLD ? DO : 0) | (m & DO_NO_OLD ? DO_NO : 0));
            m = (uint16_t)(m & ~(DO_OLD | DO_NO_OLD | DO_ERROR));
        }
        if (!undoing)
            m = (uint16_t)(m & ~UNDO_ERROR);
        if (!dispatched && !undoing && w->attempt > 0)
            w->attempt = 1;
        if ((w->effect == DONE || w->effect == UNDONE) && (m & DO_OK)) /* more of it only says that again */
            m = (uint16_t)(m & ~(DO | DO_OLD));
        if ((w->effect == REFUSED || w->effect == VOIDED) && (m & DO_NO) && !dispatched)
            m = (uint16_t)(m & ~DO);
        if ((w->effect == UNDONE || w->effect == VOIDED) && (m & UNDO_OK))
            m = (uint16_t)(m & ~UNDO);
        w->messages = m;
    }
}

/* ---- promises about one decision ---- */

static bool is_open(const sb_step_state_t *st)
{
    return st->status == SB_STEP_DISPATCHED || st->status == SB_STEP_COMPENSATING;
}

static bool is_done(const sb_step_state_t *st)
{
    return st->status == SB_STEP_COMPLETED || st->status == SB_STEP_SKIPPED;
}

static bool saga_went[8][8], step_went[8][8];

bool explorer_went(bool of_saga, int from, int to)
{
    return of_saga ? saga_went[from][to] : step_went[from][to];
}

static void note_moves(const walk_t *walk, const sb_saga_state_t *before, const sb_saga_event_t *event,
                       const sb_saga_state_t *after)
{
    bool turned = event->kind == SB_SAGA_EV_COMPENSATING || event->kind == SB_SAGA_EV_REWINDING;
    if (before->status != after->status || turned)
        saga_went[before->status][after->status] = true;
    for (int i = 0; i < walk->definition->step_count; i++) {
        int from = (int)before->step[i].status, to = (int)after->step[i].status;
        bool retried = event->kind == SB_SAGA_EV_STEP_RETRIED && event->step == i;
        bool anew = event->kind == SB_SAGA_EV_REWOUND && i >= event->step && from != SB_STEP_PENDING;
        if (anew)
            step_went[from][SB_STEP_PENDING] = true;
        else if (from != to || retried)
            step_went[from][to] = true;
    }
}

static bool folds(walk_t *walk, sb_saga_state_t *state, const sb_saga_event_t *event)
{
    sb_saga_state_t before = *state;
    if (sb_machine_evolve(&walk->given, state, event, NULL) != SB_OK)
        return false;
    if (!walk->mutant)
        note_moves(walk, &before, event, state);
    if (walk->mutant && walk->mutant->folded)
        walk->mutant->folded(&before, event, state);
    return true;
}

static bool is_fold(walk_t *walk, const sb_saga_state_t *before, const sb_decision_t *decision,
                    const sb_saga_state_t *after)
{
    static const sb_saga_head_t head = {.type = {"s", 1}, .key = {"k", 1}};
    sb_saga_state_t direct = *before, read = *before;
    for (int i = 0; i < decision->event_count; i++) {
        const sb_saga_event_t *event = &decision->event[i];
        sb_saga_event_t back;
        sb_buf_reset(&walk->body);
        sb_saga_event_write(walk->definition, event, &head, &walk->body);
        if (sb_saga_event_read(walk->definition, sb_slice(sb_saga_event_type(event->kind)), event->at_us,
                               sb_buf_slice(&walk->body), &walk->scratch, &back, NULL) != SB_OK ||
            !folds(walk, &direct, event) || !folds(walk, &read, &back))
            return false;
    }
    return sb_saga_state_equal(&direct, after) && sb_saga_state_equal(&read, after);
}

static bool keeps_its_end(const sb_saga_input_t *input, const sb_saga_state_t *before,
                          const sb_decision_t *decision, const sb_saga_state_t *after)
{
    bool undone =
        input->kind == SB_SAGA_IN_UNDO && before->status == SB_SAGA_COMPLETED && !before->past_pivot;
    if (!sb_saga_is_over(before) || undone)
        return true;
    for (int i = 0; i < decision->event_count; i++) {
        if (decision->event[i].kind != SB_SAGA_EV_ANOMALY)
            return false;
    }
    return after->status == before->status && decision->order_count == 0 && decision->wake_us == 0;
}

static bool has_order(const sb_decision_t *decision, int step, const sb_step_state_t *st)
{
    for (int i = 0; i < decision->order_count; i++) {
        const sb_saga_order_t *order = &decision->order[i];
        if (order->step == step && order->attempt == st->attempt && order->round == st->round &&
            order->direction == (st->status == SB_STEP_COMPENSATING ? SB_COMPENSATE : SB_FORWARD))
            return true;
    }
    return false;
}

/* A try that is out now and was not before has its order; and a crash before the send forgets none. */
static bool sends_what_is_due(const walk_t *walk, const sb_saga_state_t *before,
                              const sb_decision_t *decision, const sb_saga_state_t *after, int64_t now_us)
{
    sb_decision_t again;
    sb_machine_open(&walk->given, after, now_us, &again, NULL);
    int due = 0;
    for (int i = 0; i < walk->definition->step_count; i++) {
        const sb_step_state_t *was = &before->step[i], *is = &after->step[i];
        bool out = is_open(is) && !is->waiting && !sb_saga_is_over(after);
        bool out_before = is_open(was) && !was->waiting && was->status == is->status &&
                          was->round == is->round && was->attempt == is->attempt;
        if (!out || out_before)
            continue;
        due++;
        if (!has_order(decision, i, is) || (!after->paused && !has_order(&again, i, is)))
            return false;
    }
    return due == decision->order_count && (!after->paused || due == 0);
}

static bool undoes_newest_first(const walk_t *walk, const sb_decision_t *decision,
                                const sb_saga_state_t *after)
{
    for (int i = 0; i < decision->order_count; i++) {
        if (decision->order[i].direction != SB_COMPENSATE)
            continue;
        for (int j = 0; j < walk->definition->step_count; j++) {
            const sb_step_state_t *st = &after->step[j];
            bool to_undo = walk->definition->step[j].compensation &&
                           (st->status == SB_STEP_COMPLETED || st->status == SB_STEP_UNKNOWN);
            if ((j > decision->order[i].step && to_undo) || st->status == SB_STEP_DISPATCHED)
                return false;
        }
    }
    return true;
}

static bool goes_forward_in_order(const walk_t *walk, const sb_decision_t *decision,
                                  const sb_saga_state_t *after)
{
    for (int i = 0; i < decision->order_count; i++) {
        int step = decision->order[i].step, group = walk->definition->step[step].group;
        if (decision->order[i].direction != SB_FORWARD)
            continue;
        if (after->status != SB_SAGA_STARTED)
            return false;
        for (int j = 0; j < step; j++) {
            bool side_by_side = group >= 0 && walk->definition->step[j].group == group;
            if (!is_done(&after->step[j]) && !side_by_side)
                return false;
        }
    }
    return true;
}

static bool keeps_past_the_pivot(const walk_t *walk, const sb_saga_state_t *before,
                                 const sb_decision_t *decision, const sb_saga_state_t *after)
{
    bool pivot_out = before->past_pivot;
    for (int i = 0; i < walk->definition->step_count; i++)
        pivot_out =
            pivot_out || (walk->definition->step[i].pivot && before->step[i].status == SB_STEP_DISPATCHED);
    for (int i = 0; i < decision->event_count; i++) {
        if (pivot_out && (decision->event[i].kind == SB_SAGA_EV_COMPENSATING ||
                          decision->event[i].kind == SB_SAGA_EV_REWINDING))
            return false;
        if (before->past_pivot && decision->event[i].kind == SB_SAGA_EV_STEP_FAILED &&
            decision->event[i].unknown)
            return false;
    }
    return !before->past_pivot || (after->past_pivot && after->status != SB_SAGA_COMPENSATING &&
                                   after->status != SB_SAGA_COMPENSATED);
}

static bool opens_rounds_only_by_an_operator(const walk_t *walk, const sb_saga_input_t *input,
                                             const sb_saga_state_t *before, const sb_saga_state_t *after)
{
    for (int i = 0; i < walk->definition->step_count; i++) {
        int from = before->step[i].round, to = after->step[i].round;
        bool gone_back = input->kind == SB_SAGA_IN_REWIND || before->rewind_to >= 0 ||
                         before->step[i].status == SB_STEP_PENDING;
        if (to != from && !(from == 0 && to == 1) && !(gone_back && to == from + 1) &&
            input->kind != SB_SAGA_IN_RETRY)
            return false;
    }
    return true;
}

/* Nothing before the step that was asked for is touched. */
static bool goes_back_as_far_as_asked(const walk_t *walk, const sb_saga_input_t *input,
                                      const sb_saga_state_t *before, const sb_decision_t *decision,
                                      const sb_saga_state_t *after)
{
    int to = before->rewind_to;
    if (input->kind == SB_SAGA_IN_REWIND && !decision->refused) {
        int group = walk->definition->step[input->step].group;
        to = group >= 0 ? group : input->step;
        if (after->rewind_to >= 0 && after->rewind_to != to)
            return false;
    }
    bool on_its_way = after->rewind_to >= 0 || after->status == SB_SAGA_STARTED;
    for (int i = 0; i < to && on_its_way; i++)
        if (after->step[i].status != before->step[i].status || after->step[i].round != before->step[i].round)
            return false;
    return true;
}

static bool waits_for_something(const walk_t *walk, const sb_decision_t *decision,
                                const sb_saga_state_t *after)
{
    if (after->status == SB_SAGA_NONE || sb_saga_is_over(after) || after->paused)
        return decision->wake_us == 0;
    if (decision->wake_us > 0)
        return true;
    for (int i = 0; i < walk->definition->step_count; i++) {
        if (after->step[i].status == SB_STEP_FAILED && after->step[i].attention)
            return after->attention;
    }
    return false;
}

/* Whatever it had come to, unless an operator closed it, or its pivot is done or under way. */
static bool undoes_all_the_way(const walk_t *walk, const sb_saga_input_t *input,
                               const sb_saga_state_t *before, const sb_decision_t *decision,
                               const sb_saga_state_t *after)
{
    bool cannot = before->status == SB_SAGA_NONE || before->status == SB_SAGA_FAILED || before->past_pivot;
    for (int i = 0; i < walk->definition->step_count; i++)
        cannot = cannot || (walk->definition->step[i].pivot && before->step[i].status == SB_STEP_DISPATCHED);
    if (input->kind != SB_SAGA_IN_UNDO)
        return true;
    return decision->refused ? cannot
                             : after->status == SB_SAGA_COMPENSATED ||
                                   (after->status == SB_SAGA_COMPENSATING && after->rewind_to < 0);
}

static bool obeys_the_last_try(const sb_saga_input_t *input, const sb_saga_state_t *before,
                               const sb_decision_t *decision)
{
    const sb_step_state_t *st = &before->step[input->step < 0 ? 0 : input->step];
    bool of_old = input->kind == SB_SAGA_IN_REPLY && input->outcome == SB_OUTCOME_FAILURE &&
                  st->status == SB_STEP_DISPATCHED && input->round == st->round && input->attempt > 0 &&
                  input->attempt < st->attempt - (st->waiting ? 1 : 0);
    return !of_old || decision->event_count == 0;
}

/* An undo may have come first, at a participant that does not remember it: the effect stands. */
static bool reports_late_effects(const sb_saga_input_t *input, const sb_saga_state_t *before,
                                 const sb_saga_state_t *after)
{
    bool success = input->kind == SB_SAGA_IN_REPLY && input->direction == SB_FORWARD &&
                   input->outcome == SB_OUTCOME_SUCCESS;
    return !success || before->step[input->step].status == SB_STEP_DISPATCHED ||
           !before->step[input->step].was_unknown || after->step[input->step].anomaly;
}

static void decide(walk_t *walk, const sb_saga_state_t *state, const sb_saga_input_t *input, int64_t now_us,
                   sb_decision_t *decision, sb_saga_state_t *after)
{
    const mutant_t *mutant = walk->mutant;
    sb_saga_state_t given = *state;
    sb_saga_input_t in = *input;
    if (mutant && mutant->before)
        mutant->before(&given, &in);
    sb_machine_decide(&walk->given, &given, &in, now_us, decision, after);
    if (mutant && mutant->decided)
        mutant->decided(state, input, decision, after);
}

/* The same definitive answer again must leave no trace. */
static bool ignores_repeats(walk_t *walk, const sb_saga_input_t *input, const sb_saga_state_t *after,
                            int64_t now_us)
{
    bool definitive = input->kind == SB_SAGA_IN_REPLY &&
                      (input->outcome == SB_OUTCOME_SUCCESS ||
                       (input->outcome == SB_OUTCOME_FAILURE && input->direction == SB_FORWARD));
    if (!definitive)
        return true;
    sb_decision_t again;
    sb_saga_state_t later;
    decide(walk, after, input, now_us, &again, &later);
    return again.event_count == 0 && again.order_count == 0;
}

static void promise(walk_t *walk, bool kept, const char *name)
{
    if (!kept && !walk->broken)
        walk->broken = name;
}

static void check_decision(walk_t *walk, const sb_saga_state_t *before, const sb_saga_input_t *input,
                           int64_t now_us, const sb_decision_t *decision, const sb_saga_state_t *after)
{
    promise(walk, keeps_its_end(input, before, decision, after), "an end is an end");
    promise(walk, undoes_all_the_way(walk, input, before, decision, after), "an undo is all the way");
    promise(walk,
            input->kind != SB_SAGA_IN_START || !input->voided ||
                (after->status == SB_SAGA_COMPENSATED && decision->order_count == 0),
            "a void start does nothing");
    promise(walk, is_fold(walk, before, decision, after), "the state is the fold of the events");
    promise(walk,
            !decision->refused || (decision->event_count == 0 && decision->order_count == 0 &&
                                   sb_saga_state_equal(before, after)),
            "a refused verb changes nothing");
    promise(walk, keeps_past_the_pivot(walk, before, decision, after), "no way back past the pivot");
    promise(walk, opens_rounds_only_by_an_operator(walk, input, before, after),
            "only an operator opens a round");
    promise(walk,
            input->kind != SB_SAGA_IN_CANCEL || decision->refused || after->status == SB_SAGA_COMPENSATED ||
                (after->status == SB_SAGA_COMPENSATING && after->rewind_to < 0),
            "a cancel is all the way");
    promise(walk, goes_back_as_far_as_asked(walk, input, before, decision, after),
            "it goes back as far as asked");
    promise(walk, obeys_the_last_try(input, before, decision), "only the last try may fail a step");
    promise(walk, undoes_newest_first(walk, decision, after), "undone newest first");
    promise(walk, goes_forward_in_order(walk, decision, after), "forward in order");
    promise(walk, sends_what_is_due(walk, before, decision, after, now_us), "what is due is sent");
    promise(walk, waits_for_something(walk, decision, after), "an open saga waits for something");
    promise(walk, reports_late_effects(input, before, after), "a late effect is reported");
    promise(walk, ignores_repeats(walk, input, after, now_us), "a repeat leaves no trace");
}

/* ---- promises about the world ---- */

static bool is_true(const world_step_t *w, bool undoable)
{
    if (w->status == SB_STEP_COMPLETED)
        return w->effect == DONE;
    if (w->status == SB_STEP_FAILED)
        return w->effect != DONE;
    return w->status != SB_STEP_PENDING || w->effect != DONE || !undoable; /* gone back over */
}

static void check_world(walk_t *walk, const world_t *world)
{
    for (int i = 0; i < walk->definition->step_count; i++) {
        const world_step_t *w = &world->step[i];
        bool undoable = walk->definition->step[i].compensation != NULL;
        bool untouched = (w->status != SB_STEP_SKIPPED || !walk->model->skips) && !walk->model->no_barrier;
        promise(walk, is_true(w, undoable), "what is recorded is true");
        if (w->status == SB_STEP_COMPENSATED && untouched)
            promise(walk, w->effect != DONE, "what is undone is undone");
        if (world->status == SB_SAGA_COMPLETED && w->status != SB_STEP_SKIPPED)
            promise(walk, w->effect == DONE, "completed means all done");
        if (world->status == SB_SAGA_COMPENSATED && undoable && untouched)
            promise(walk, w->effect != DONE, "compensated means all undone");
    }
}

/* ---- moves ---- */

static void send(world_t *world, const sb_saga_order_t *order)
{
    world_step_t *w = &world->step[order->step];
    if (order->direction == SB_COMPENSATE) {
        w->messages |= UNDO;
        return;
    }
    if (order->round > w->round) { /* another command: those of the closed round are not followed further */
        w->messages = 0;
        w->effect = NOTHING;
    }
    if (w->messages & DO)
        w->messages |= DO_OLD;
    if (w->messages & DO_NO)
        w->messages |= DO_NO_OLD;
    w->messages = (uint16_t)((w->messages | DO) & ~(DO_NO | DO_ERROR));
}

static void take(walk_t *walk, world_t *world, const sb_decision_t *decision, const sb_saga_state_t *after,
                 int64_t now_us)
{
    for (int i = 0; i < decision->order_count; i++)
        send(world, &decision->order[i]);
    keep_state(walk, world, after, now_us);
}

/* A participant that keeps its answers would not do it again under the same id. */
static bool sends_nothing_undone(const world_t *world, const sb_decision_t *decision)
{
    for (int i = 0; i < decision->order_count; i++) {
        const sb_saga_order_t *order = &decision->order[i];
        const world_step_t *w = &world->step[order->step];
        if (order->direction == SB_FORWARD && order->round <= w->round &&
            (w->effect == UNDONE || w->effect == VOIDED))
            return false;
    }
    return true;
}

static bool input_to(walk_t *walk, world_t *world, const sb_saga_input_t *input, int64_t now_us)
{
    sb_saga_state_t before = state_of(walk, world), after;
    sb_decision_t decision;
    decide(walk, &before, input, now_us, &decision, &after);
    promise(walk, sends_nothing_undone(world, &decision), "what was undone is not sent again");
    check_decision(walk, &before, input, now_us, &decision, &after);
    take(walk, world, &decision, &after, now_us);
    return true;
}

static bool deliver_do(walk_t *walk, world_t *world, const action_t *action)
{
    world_step_t *w = &world->step[action->step];
    bool old = action->kind == ACT_DELIVER_DO_OLD;
    if (!(w->messages & (old ? DO_OLD : DO)) || (action->choice > 0 && w->effect != NOTHING))
        return false;
    if (w->effect == NOTHING && action->choice == 2) { /* rolled back, nothing kept */
        w->messages |= old ? 0 : DO_ERROR;
        return !old;
    }
    if (w->effect == NOTHING)
        w->effect = action->choice == 0 ? DONE : REFUSED;
    bool ok = w->effect == DONE || w->effect == UNDONE;
    w->messages |= ok ? DO_OK : old ? DO_NO_OLD : DO_NO;
    (void)walk;
    return true;
}

static bool deliver_undo(walk_t *walk, world_t *world, const action_t *action)
{
    world_step_t *w = &world->step[action->step];
    if (!(w->messages & UNDO))
        return false;
    if (action->choice == 1) {
        w->messages |= UNDO_ERROR;
        return w->effect != UNDONE && w->effect != VOIDED;
    }
    bool unsure = w->was_unknown || (w->round > 0 && w->unsure & 1 << (w->round - 1));
    promise(walk, unsure || w->status == SB_STEP_SKIPPED || w->effect == DONE || w->effect == UNDONE,
            "an undo finds what it undoes");
    if (w->effect == DONE)
        w->effect = UNDONE;
    else if (w->effect == NOTHING && !walk->model->no_barrier)
        w->effect = VOIDED;
    w->messages |= UNDO_OK;
    return true;
}

static bool deliver_reply(walk_t *walk, world_t *world, const action_t *action)
{
    static const struct {
        int bit;
        sb_direction_t direction;
        sb_outcome_t outcome;
        int behind; /* tries behind the last that was sent */
    } replies[] = {
        {DO_OK, SB_FORWARD, SB_OUTCOME_SUCCESS, 0},      {DO_NO, SB_FORWARD, SB_OUTCOME_FAILURE, 0},
        {DO_NO_OLD, SB_FORWARD, SB_OUTCOME_FAILURE, 1},  {DO_ERROR, SB_FORWARD, SB_OUTCOME_ERROR, 0},
        {UNDO_OK, SB_COMPENSATE, SB_OUTCOME_SUCCESS, 0}, {UNDO_ERROR, SB_COMPENSATE, SB_OUTCOME_ERROR, 0}};
    const world_step_t *w = &world->step[action->step];
    if (action->choice >= sizeof replies / sizeof replies[0] || !(w->messages & replies[action->choice].bit))
        return false;
    int attempt = w->attempt - (w->waiting ? 1 : 0) - replies[action->choice].behind;
    sb_saga_input_t input = {.kind = SB_SAGA_IN_REPLY,
                             .step = action->step,
                             .direction = replies[action->choice].direction,
                             .round = w->round,
                             .attempt = (uint16_t)(attempt > 0 ? attempt : 0),
                             .outcome = replies[action->choice].outcome,
                             .result = SB_SLICE("{\"r\":1}"),
                             .error = SB_SLICE("no"),
                             .skip_mask = action->skip_mask};
    if (replies[action->choice].behind > 0 && attempt < 1)
        return false;
    return input_to(walk, world, &input, NOW_US);
}

static bool fire_timer(walk_t *walk, world_t *world, const action_t *action)
{
    sb_saga_input_t input = {.kind = SB_SAGA_IN_TIMER, .skip_mask = action->skip_mask};
    if (action->kind == ACT_LATE_TIMER)
        return walk->model->late &&
               input_to(walk, world, &input, NOW_US + (int64_t)walk->definition->deadline_ms * US_PER_MS + 1);
    int64_t wake_ms = 0;
    for (int i = 0; i < walk->definition->step_count; i++) {
        int64_t own = world->step[i].wake_ms;
        wake_ms = own > 0 && (wake_ms == 0 || own < wake_ms) ? own : wake_ms;
    }
    return wake_ms > 0 && !world->paused && input_to(walk, world, &input, NOW_US + wake_ms * US_PER_MS);
}

/* Commands may go out a second time; nothing else changes. */
static bool crash(walk_t *walk, world_t *world)
{
    sb_saga_state_t state = state_of(walk, world), after;
    sb_decision_t decision;
    sb_machine_open(&walk->given, &state, NOW_US, &decision, &after);
    promise(walk, sb_saga_state_equal(&state, &after), "a crash changes no outcome");
    promise(walk, waits_for_something(walk, &decision, &after), "an open saga waits for something");
    for (int i = 0; i < decision.order_count; i++)
        world->step[decision.order[i].step].messages |= decision.order[i].direction == SB_FORWARD ? DO : UNDO;
    keep_state(walk, world, &after, NOW_US);
    return true;
}

/* Each verb once, at any moment. */
static bool act(walk_t *walk, world_t *world, const action_t *action, sb_saga_input_kind_t kind, bool allowed,
                bool *used)
{
    if (!allowed || *used)
        return false;
    *used = true;
    sb_saga_input_t input = {.kind = kind,
                             .step = action->step,
                             .result = SB_SLICE("{}"),
                             .by = SB_SLICE("ann"),
                             .reason = SB_SLICE("test"),
                             .pause = action->choice == 1,
                             .voided = action->choice == 1,
                             .skip_mask = action->skip_mask};
    return input_to(walk, world, &input, NOW_US);
}

static bool apply(walk_t *walk, world_t *world, const action_t *action)
{
    const model_t *model = walk->model;
    bool never = false;
    switch ((action_kind_t)action->kind) {
    case ACT_START:
        return world->status == SB_SAGA_NONE &&
               act(walk, world, action, SB_SAGA_IN_START, action->choice == 0 || model->undoes,
                   action->choice == 0 ? &never : &world->voided);
    case ACT_DELIVER_DO:
    case ACT_DELIVER_DO_OLD:
        return deliver_do(walk, world, action);
    case ACT_DELIVER_UNDO:
        return deliver_undo(walk, world, action);
    case ACT_REPLY:
        return deliver_reply(walk, world, action);
    case ACT_TIMER:
    case ACT_LATE_TIMER:
        return fire_timer(walk, world, action);
    case ACT_CRASH:
        return world->status != SB_SAGA_NONE && crash(walk, world);
    case ACT_CANCEL:
        return act(walk, world, action, SB_SAGA_IN_CANCEL, model->cancels, &world->cancelled);
    case ACT_PAUSE:
        return act(walk, world, action, SB_SAGA_IN_PAUSE, model->pauses, &world->paused_once);
    case ACT_RESUME:
        return act(walk, world, action, SB_SAGA_IN_RESUME, (model->pauses || model->rewinds) && world->paused,
                   &never);
    case ACT_RETRY:
        return act(walk, world, action, SB_SAGA_IN_RETRY, model->retries, &world->retried);
    case ACT_SKIP:
        return act(walk, world, action, SB_SAGA_IN_SKIP, model->skips, &world->skipped);
    case ACT_RESOLVE:
        return act(walk, world, action, SB_SAGA_IN_RESOLVE, model->resolves, &world->resolved);
    case ACT_REWIND:
        return act(walk, world, action, SB_SAGA_IN_REWIND, model->rewinds, &world->rewound);
    case ACT_UNDO:
        return act(walk, world, action, SB_SAGA_IN_UNDO, model->undoes, &world->undone);
    case ACT_KINDS:
        break;
    }
    return false;
}

static bool is_of_step(uint8_t kind)
{
    return (kind >= ACT_DELIVER_DO && kind <= ACT_REPLY) || kind == ACT_RETRY || kind == ACT_SKIP ||
           kind == ACT_REWIND;
}

/* Counts through all actions; the last gives false. */
static bool next_action(const walk_t *walk, action_t *action)
{
    int choices = action->kind == ACT_REPLY                                 ? 6
                  : action->kind == ACT_REWIND || action->kind == ACT_START ? 2
                  : action->kind <= ACT_DELIVER_UNDO && action->kind > 0    ? 3
                                                                            : 1;
    int steps = is_of_step(action->kind) ? walk->definition->step_count : 1;
    int masks = 0;
    for (int i = 0; i < walk->definition->step_count; i++)
        masks |= walk->definition->step[i].when ? 1 << i : 0;
    if (action->kind < ACT_DELIVER_DO || action->kind > ACT_DELIVER_UNDO) {
        action->skip_mask = (uint8_t)((action->skip_mask - masks) & masks); /* the next subset */
        if (action->skip_mask != 0)
            return true;
    }
    if (++action->choice < choices)
        return true;
    action->choice = 0;
    if (++action->step < steps)
        return true;
    action->step = 0;
    return ++action->kind < ACT_KINDS;
}

/* ---- the walk ---- */

static uint64_t hash(const world_t *world)
{
    const unsigned char *byte = (const unsigned char *)world;
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof *world; i++)
        h = (h ^ byte[i]) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

static void *grow(void *old, size_t *cap, size_t count, size_t size)
{
    if (count < *cap)
        return old;
    *cap = *cap ? *cap * 2 : 4096;
    void *grown = realloc(old, *cap * size);
    assert_non_null(grown);
    return grown;
}

static void rehash(walk_t *walk)
{
    free(walk->table);
    walk->table_size = walk->table_size ? walk->table_size * 2 : 1u << 14;
    walk->table = calloc(walk->table_size, sizeof *walk->table);
    assert_non_null(walk->table);
    for (size_t i = 0; i < walk->count; i++) {
        size_t at = hash(&walk->node[i].world) & (walk->table_size - 1);
        while (walk->table[at])
            at = (at + 1) & (walk->table_size - 1);
        walk->table[at] = (uint32_t)i + 1;
    }
}

/* Index of the world, which is new or known. */
static uint32_t visit(walk_t *walk, const world_t *world, uint32_t parent, const action_t *action)
{
    if (walk->count * 2 >= walk->table_size)
        rehash(walk);
    size_t at = hash(world) & (walk->table_size - 1);
    for (; walk->table[at]; at = (at + 1) & (walk->table_size - 1)) {
        if (memcmp(&walk->node[walk->table[at] - 1].world, world, sizeof *world) == 0)
            return walk->table[at] - 1;
    }
    walk->node = grow(walk->node, &walk->node_cap, walk->count, sizeof *walk->node);
    walk->node[walk->count] = (node_t){*world, parent, *action};
    walk->table[at] = (uint32_t)++walk->count;
    return (uint32_t)walk->count - 1;
}

static void add_edge(walk_t *walk, uint32_t from, uint32_t to)
{
    if (from == to)
        return;
    walk->edge = grow(walk->edge, &walk->edge_cap, walk->edges, sizeof *walk->edge);
    walk->edge[walk->edges++] = (edge_t){from, to};
}

/* True when it goes on: nothing broken so far. */
static bool expand(walk_t *walk, uint32_t at)
{
    action_t action = {0};
    do {
        world_t world = walk->node[at].world;
        if (!apply(walk, &world, &action))
            continue;
        if (!walk->broken)
            check_world(walk, &world);
        simplify(&world);
        add_edge(walk, at, visit(walk, &world, at, &action));
        if (walk->broken) {
            walk->node = grow(walk->node, &walk->node_cap, walk->count, sizeof *walk->node);
            walk->node[walk->count++] = (node_t){world, at, action};
            return false;
        }
    } while (next_action(walk, &action));
    return true;
}

static bool is_at_rest(const world_t *world)
{
    bool over = world->status == SB_SAGA_COMPLETED || world->status == SB_SAGA_COMPENSATED ||
                world->status == SB_SAGA_FAILED;
    for (int i = 0; i < STEPS && !over; i++) /* waits for an operator, in sight */
        over = world->step[i].status == SB_STEP_FAILED && world->step[i].attention;
    return over;
}

/* Whether every state can still come to rest: nothing is lost for ever. Passes over the edges until nothing
 * changes; walks are breadth first, so going backwards takes few passes. */
static void check_rest(walk_t *walk)
{
    bool *rests = calloc(walk->count, sizeof *rests);
    assert_non_null(rests);
    for (size_t i = 0; i < walk->count; i++)
        rests[i] = is_at_rest(&walk->node[i].world);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = walk->edges; i-- > 0;) {
            if (rests[walk->edge[i].to] && !rests[walk->edge[i].from])
                changed = rests[walk->edge[i].from] = true;
        }
    }
    for (size_t i = 0; i < walk->count && !walk->broken; i++) {
        if (!rests[i]) {
            walk->broken = "every saga can end";
            walk->node = grow(walk->node, &walk->node_cap, walk->count, sizeof *walk->node);
            walk->node[walk->count++] = walk->node[i];
            break;
        }
    }
    free(rests);
}

static const char *const action_names[ACT_KINDS] = {
    "start",  "deliver", "deliver old", "deliver undo", "reply", "timer",   "late timer", "crash",
    "cancel", "pause",   "resume",      "retry",        "skip",  "resolve", "rewind",     "undo"};

static void describe(const walk_t *walk, uint32_t at, sb_buf_t *out)
{
    if (at == 0)
        return;
    const node_t *node = &walk->node[at];
    describe(walk, node->parent, out);
    sb_buf_printf(out, "%s step %d choice %d mask %d -> %s", action_names[node->action.kind],
                  node->action.step, node->action.choice, node->action.skip_mask,
                  sb_saga_status_name((sb_saga_status_t)node->world.status));
    for (int i = 0; i < walk->definition->step_count; i++)
        sb_buf_printf(out, " %s%s/%d/%d", sb_step_status_name((sb_step_status_t)node->world.step[i].status),
                      node->world.step[i].waiting ? "(waiting)" : "", node->world.step[i].effect,
                      node->world.step[i].messages);
    sb_buf_add_char(out, '\n');
}

static void sum_up(const walk_t *walk, walk_result_t *out)
{
    out->states = walk->count;
    out->moves = walk->edges;
    out->broken = walk->broken;
    for (size_t i = 0; i < walk->count; i++) {
        const world_t *world = &walk->node[i].world;
        out->completed += world->status == SB_SAGA_COMPLETED;
        out->compensated += world->status == SB_SAGA_COMPENSATED;
        out->failed += world->status == SB_SAGA_FAILED;
        bool anomaly = false;
        for (int s = 0; s < STEPS; s++)
            anomaly = anomaly || world->step[s].anomaly;
        out->anomalies += anomaly;
    }
    if (!walk->broken)
        return;
    sb_buf_t trace = SB_BUF_INIT;
    describe(walk, (uint32_t)walk->count - 1, &trace);
    (void)snprintf(out->trace, sizeof out->trace, "%s", sb_buf_text(&trace));
    sb_buf_fini(&trace);
}

walk_result_t explore(const model_t *model, const mutant_t *mutant)
{
    walk_t walk = {.model = model, .mutant = mutant};
    walk_result_t result = {0};
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = NULL;
    assert_ok(sb_json_parse(&body, sb_slice(model->definition), "definition", &err), &err);
    assert_ok(sb_definition_compile(&walk.definition, body, &err), &err);
    json_decref(body);
    assert_true(walk.definition->step_count <= STEPS);
    walk.given = *walk.definition;
    if (mutant && mutant->defined)
        mutant->defined(&walk.given);
    world_t first;
    memset(&first, 0, sizeof first);
    first.failed_step = first.rewind_to = UINT8_MAX;
    (void)visit(&walk, &first, 0, &(action_t){0});
    for (uint32_t at = 0; at < walk.count; at++) {
        assert_true(walk.count < STATES_MAX);
        if (!expand(&walk, at))
            break;
    }
    if (!walk.broken)
        check_rest(&walk);
    sum_up(&walk, &result);
    sb_definition_free(&walk.definition);
    sb_buf_fini(&walk.body);
    sb_buf_fini(&walk.scratch);
    free(walk.table);
    free(walk.edge);
    free(walk.node);
    return result;
}
