/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/children.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "saga/child_key.h"
#include "saga/contract.h"
#include "saga/orchestrator/orchestrator_internal.h"
#include "saga_sql.h"

#include <stdio.h>
#include <stdlib.h>

#define AGAIN_US    500000 /* a child of another instance is asked after, a start not taken is tried again */
#define PENDING_US  10000000 /* the machine is told that the child runs; less than half of a try's time */
#define IN_ONE_TURN 500

#define ASK_LEAST_US                                                                                         \
    10000000 /* an undo that its owner refused, or that came to nothing, is asked for again */
#define ASK_MOST_US 300000000

typedef enum stage {
    TO_START, /* its start is to be queued */
    STARTING, /* it is */
    REFUSED,  /* there is none: the parent is to be told */
    FOLLOWED  /* it has a number */
} stage_t;

struct sb_child {
    struct sb_child *next, *prev; /* in one of the lists */
    struct sb_child *sibling;     /* of the parent */
    sb_open_saga_t *parent;
    int step;
    sb_direction_t direction;
    uint16_t round;
    stage_t stage;
    bool is_due; /* which list */
    int64_t no;
    int64_t look_us;   /* monotonic, as all here */
    int64_t said_us;   /* the machine was told that it runs */
    int64_t asked_us;  /* its undo was asked for; 0: not yet */
    int64_t asking_us; /* … for the first time */
    char *input;       /* REFUSED: why */
    sb_code_t refused; /* the code of it */
};

/* ---- lists ---- */

static void list_add(sb_child_list_t *list, sb_child_t *child)
{
    child->prev = list->last;
    child->next = NULL;
    if (list->last)
        list->last->next = child;
    else
        list->first = child;
    list->last = child;
}

static void list_remove(sb_child_list_t *list, sb_child_t *child)
{
    if (child->prev)
        child->prev->next = child->next;
    else
        list->first = child->next;
    if (child->next)
        child->next->prev = child->prev;
    else
        list->last = child->prev;
}

static sb_child_list_t *list_of(sb_orchestrator_t *o, const sb_child_t *child)
{
    return child->is_due ? &o->children.due : &o->children.waiting;
}

static void make_due(sb_orchestrator_t *o, sb_child_t *child)
{
    if (child->is_due)
        return;
    list_remove(&o->children.waiting, child);
    child->is_due = true;
    list_add(&o->children.due, child);
}

/* All wait for about as long, so the list's head is the first. */
static void make_wait(sb_orchestrator_t *o, sb_child_t *child)
{
    list_remove(list_of(o, child), child);
    child->is_due = false;
    child->look_us = sb_mono_us() + AGAIN_US;
    list_add(&o->children.waiting, child);
}

static void drop(sb_orchestrator_t *o, sb_child_t *child)
{
    sb_child_t **at = &child->parent->child;
    while (*at != child)
        at = &(*at)->sibling;
    *at = child->sibling;
    list_remove(list_of(o, child), child);
    free(child->input);
    free(child);
}

static sb_child_t *find(const sb_open_saga_t *parent, int step)
{
    sb_child_t *child = parent ? parent->child : NULL;
    while (child && child->step != step)
        child = child->sibling;
    return child;
}

/* ---- doors ---- */

sb_code_t sb_children_take(sb_orchestrator_t *o, int64_t parent_no, const sb_saga_order_t *order,
                           sb_slice_t input, sb_error_t *err)
{
    sb_open_saga_t *parent = sb_open_sagas_find(&o->sagas, parent_no);
    sb_child_t *child = find(parent, order->step);
    if (!parent)
        return SB_OK;
    if (child && child->round == order->round && child->direction == order->direction) {
        make_due(o, child);
        return SB_OK;
    }
    if (child) /* it goes the other way now */
        drop(o, child);
    child = calloc(1, sizeof *child);
    if (child)
        child->input = strndup(input.ptr ? input.ptr : "", input.len);
    if (!child || !child->input) {
        free(child);
        return sb_fail(err, SB_NO_MEMORY, "start a saga as a step: out of memory");
    }
    child->parent = parent;
    child->step = order->step;
    child->direction = order->direction;
    child->round = order->round;
    child->said_us = sb_mono_us();
    child->sibling = parent->child;
    child->is_due = true;
    parent->child = child;
    list_add(&o->children.due, child);
    return SB_OK;
}

void sb_children_forget(sb_orchestrator_t *o, sb_open_saga_t *parent)
{
    while (parent->child)
        drop(o, parent->child);
}

void sb_children_turned(sb_orchestrator_t *o, sb_open_saga_t *parent)
{
    for (sb_child_t *child = parent->child; child; child = child->sibling)
        make_due(o, child);
}

void sb_children_ended(sb_orchestrator_t *o, const sb_open_saga_t *saga)
{
    sb_uuid_t id;
    sb_slice_t step;
    uint16_t round;
    int64_t no;
    if (!sb_child_key_read(saga->key, &id, &step, &round) || !sb_saga_number_of(&id, &no))
        return;
    const sb_open_saga_t *parent = sb_open_sagas_find(&o->sagas, no);
    for (sb_child_t *child = parent ? parent->child : NULL; child; child = child->sibling)
        if (child->stage == FOLLOWED && child->no == saga->no)
            make_due(o, child);
}

int64_t sb_children_next_us(const sb_orchestrator_t *o)
{
    if (o->children.due.first)
        return sb_mono_us();
    return o->children.waiting.first ? o->children.waiting.first->look_us : 0;
}

/* ---- replies to the parent ---- */

/* False: no memory; it is looked at again later. */
static bool reply(sb_orchestrator_t *o, const sb_child_t *child, const sb_saga_input_t *what)
{
    sb_shard_t *shard = sb_shard_find(o, sb_saga_shard(child->parent->no));
    sb_item_t *item = shard ? sb_item_list_add(&shard->items) : NULL;
    if (!item)
        return false;
    item->kind = SB_ITEM_REPLY;
    item->no = child->parent->no;
    item->input = *what;
    item->input.kind = SB_SAGA_IN_REPLY;
    item->input.step = child->step;
    item->input.direction = child->direction;
    item->input.round = child->round;
    item->input.result = sb_arena_copy(&o->turn, what->result);
    item->input.error = sb_arena_copy(&o->turn, what->error);
    bool fits = item->input.result.ptr || !what->result.ptr;
    if (!fits)
        shard->items.count--;
    return fits;
}

/* The answer that ends the wait; without memory it is given when the child is looked at again. */
static void conclude(sb_orchestrator_t *o, sb_child_t *child, const sb_saga_input_t *what)
{
    if (reply(o, child, what))
        drop(o, child);
}

static void say_pending(sb_orchestrator_t *o, sb_child_t *child)
{
    const sb_saga_input_t pending = {.outcome = SB_OUTCOME_PENDING};
    int64_t mono = sb_mono_us();
    if (mono - child->said_us > PENDING_US && reply(o, child, &pending))
        child->said_us = mono;
}

/* ---- what the parent wants ---- */

typedef enum wish { UNWANTED, WANTED, WANTED_LATER /* it is paused */, UNDO_WANTED } wish_t;

static wish_t wish_of(const sb_child_t *child)
{
    sb_saga_state_t state;
    sb_open_saga_get_state(child->parent, &state);
    const sb_step_state_t *st = &state.step[child->step];
    bool forward = child->direction == SB_FORWARD;
    if (st->status != (forward ? SB_STEP_DISPATCHED : SB_STEP_COMPENSATING) || st->round != child->round)
        return UNWANTED;
    if (state.paused)
        return WANTED_LATER;
    return state.status == SB_SAGA_COMPENSATING ? UNDO_WANTED : WANTED;
}

/* ---- starting ---- */

/* Finds the child again when its start is answered: until then it may be gone. */
typedef struct ticket {
    sb_orchestrator_t *o;
    int64_t parent_no;
    int step;
    sb_direction_t direction;
    uint16_t round;
} ticket_t;

/* An input that the child cannot do with is a refusal. One that nobody registered must be by someone, in
 * sight of an operator. */
static void conclude_refused(sb_orchestrator_t *o, sb_child_t *child)
{
    bool refusal = child->refused == SB_INVALID && child->direction == SB_FORWARD;
    sb_saga_input_t what = {.outcome = refusal ? SB_OUTCOME_FAILURE : SB_OUTCOME_ERROR,
                            .error = sb_slice(child->input ? child->input : "it could not be started"),
                            .error_class = refusal ? SB_CLASS_VALIDATION : SB_CLASS_INFRASTRUCTURE,
                            .attention = !refusal};
    conclude(o, child, &what);
}

static void on_started(void *context, const sb_saga_answer_t *answer)
{
    ticket_t ticket = *(ticket_t *)context;
    sb_orchestrator_t *o = ticket.o;
    sb_child_t *child = find(sb_open_sagas_find(&o->sagas, ticket.parent_no), ticket.step);
    free(context);
    if (!child || child->stage != STARTING || child->direction != ticket.direction ||
        child->round != ticket.round)
        return;
    bool there = answer->code == SB_OK || answer->code == SB_MISMATCH; /* under this key it is ours */
    bool refused = answer->code == SB_INVALID || answer->code == SB_NOT_FOUND;
    if (there && sb_saga_number_of(&answer->id, &child->no)) {
        child->stage = FOLLOWED;
    } else if (refused) { /* nothing may be decided here: a batch is at work */
        child->stage = REFUSED;
        child->refused = answer->code;
        free(child->input);
        child->input = strdup(answer->err->message);
    } else {
        child->stage = TO_START;
    }
    if (child->stage == TO_START)
        make_wait(o, child);
    else
        make_due(o, child);
}

/* Past saga.open_max too: the parent is in already, and waits for it. */
static void start(sb_orchestrator_t *o, sb_child_t *child, bool voided)
{
    char key[SB_CHILD_KEY_MAX];
    char parent[SB_UUID_TEXT];
    const sb_open_saga_t *saga = child->parent;
    const sb_step_definition_t *step = &saga->plan->definition->step[child->step];
    sb_slice_t correlation =
        saga->correlation_id.ptr ? saga->correlation_id : sb_slice(sb_uuid_format(&saga->id, parent));
    sb_saga_start_t what = {.type = sb_slice(step->child),
                            .key = sb_slice(sb_child_key_write(&saga->id, step->name, child->round, key)),
                            .input = sb_slice(child->input),
                            .correlation_id = correlation,
                            .traceparent = saga->traceparent};
    ticket_t *ticket = malloc(sizeof *ticket);
    sb_call_t *call = ticket ? sb_call_new_start(&what, on_started, ticket) : NULL;
    if (call) {
        *ticket = (ticket_t){o, saga->no, child->step, child->direction, child->round};
        sb_hash_bytes(what.input, &call->request_hash);
        call->voided = voided;
        o->waiting_starts++;
        child->stage = STARTING;
        if (sb_call_push(&o->calls, call, NULL) == SB_OK)
            return;
        o->waiting_starts--;
        child->stage = TO_START;
    }
    free(call);
    free(ticket);
}

/* ---- looking ---- */

/* What a row of saga_children says. */
typedef struct sight {
    sb_saga_status_t status;
    bool ended;
    sb_slice_t result, error;
    sb_error_class_t error_class;
    bool undo_asked;    /* and not done yet */
    sb_slice_t refusal; /* of the last undo that was asked for; absent: it was taken, or is not done yet */
} sight_t;

static sb_error_class_t class_in(sb_slice_t event)
{
    sb_scan_value_t value;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_class_t found = SB_CLASS_NONE;
    if (event.ptr && sb_scan_field(event, "class", &value) && value.kind == SB_SCAN_STRING)
        found = sb_error_class_of(sb_scan_string(&value, &scratch));
    sb_buf_fini(&scratch);
    return found;
}

static sight_t read_sight(const sb_pg_result_t *rows, int row)
{
    sb_slice_t outcome = sb_pg_get_slice(rows, row, 7);
    return (sight_t){.status = (sb_saga_status_t)sb_pg_get_int(rows, row, 1),
                     .ended = sb_pg_get_bool(rows, row, 2),
                     .result = sb_pg_get_slice(rows, row, 3),
                     .error = sb_pg_get_slice(rows, row, 4),
                     .error_class = class_in(sb_pg_get_slice(rows, row, 5)),
                     .undo_asked = sb_pg_get_bool(rows, row, 6),
                     .refusal = sb_slice_is(outcome, "ok") ? SB_SLICE_NONE : outcome};
}

static void conclude_success(sb_orchestrator_t *o, sb_child_t *child, const sight_t *sight)
{
    sb_saga_input_t what = {.outcome = SB_OUTCOME_SUCCESS, .result = sight->result};
    if (sight->result.len > SB_REPLY_RESULT_MAX)
        what = (sb_saga_input_t){.outcome = SB_OUTCOME_ERROR,
                                 .error = SB_SLICE("the saga's result is larger than 512 KiB"),
                                 .error_class = SB_CLASS_VALIDATION,
                                 .attention = true};
    conclude(o, child, &what);
}

static void conclude_failure(sb_orchestrator_t *o, sb_child_t *child, const sight_t *sight)
{
    sb_slice_t otherwise = sight->status == SB_SAGA_FAILED ? SB_SLICE("the saga was closed by an operator")
                                                           : SB_SLICE("the saga was cancelled");
    sb_saga_input_t what = {.outcome = SB_OUTCOME_FAILURE,
                            .error = sight->error.ptr ? sight->error : otherwise,
                            .error_class = sight->error_class};
    conclude(o, child, &what);
}

/* It does not go back, its pivot is done, say: in sight of an operator it is asked again. */
static void conclude_not_undone(sb_orchestrator_t *o, sb_child_t *child, const sight_t *sight)
{
    char why[SB_UUID_TEXT + 600];
    (void)snprintf(why, sizeof why, "saga %s cannot be undone: %.*s",
                   child->parent->plan->definition->step[child->step].child, SB_SLICE_ARG(sight->refusal));
    sb_saga_input_t what = {.outcome = SB_OUTCOME_ERROR,
                            .error = sb_slice(why),
                            .error_class = SB_CLASS_INFRASTRUCTURE,
                            .attention = true};
    conclude(o, child, &what);
}

int64_t sb_children_ask_again_us(int64_t asking_us)
{
    return asking_us < ASK_LEAST_US ? ASK_LEAST_US : asking_us > ASK_MOST_US ? ASK_MOST_US : asking_us;
}

/* Its undo is to be asked for now. */
static bool wants_undo(sb_child_t *child, const sight_t *sight)
{
    int64_t mono = sb_mono_us();
    if (sight->undo_asked || sight->status == SB_SAGA_COMPENSATING ||
        (child->asked_us &&
         mono - child->asked_us < sb_children_ask_again_us(child->asked_us - child->asking_us)))
        return false;
    child->asked_us = mono;
    child->asking_us = child->asking_us ? child->asking_us : mono;
    return true;
}

/* True: its undo is to be asked for. */
static bool judge_forward(sb_orchestrator_t *o, sb_child_t *child, const sight_t *sight)
{
    if (sight->ended && sight->status == SB_SAGA_COMPLETED) {
        conclude_success(o, child, sight);
        return false;
    }
    if (sight->ended) {
        conclude_failure(o, child, sight);
        return false;
    }
    bool undo = wish_of(child) == UNDO_WANTED && wants_undo(child, sight);
    say_pending(o, child);
    return undo;
}

static bool judge_undo(sb_orchestrator_t *o, sb_child_t *child, const sight_t *sight)
{
    if (sight->ended && sight->status != SB_SAGA_COMPLETED) {
        conclude(o, child, &(sb_saga_input_t){.outcome = SB_OUTCOME_SUCCESS});
        return false;
    }
    if (child->asked_us && sight->refusal.ptr && sight->status != SB_SAGA_COMPENSATING) {
        conclude_not_undone(o, child, sight);
        return false;
    }
    bool undo = wish_of(child) == UNDO_WANTED && wants_undo(child, sight);
    say_pending(o, child);
    return undo;
}

/* ---- undoing ---- */

typedef struct undos {
    sb_pg_array_t numbers, by;
} undos_t;

static void add_undo(undos_t *undos, int64_t no, const sb_uuid_t *parent)
{
    char text[SB_UUID_TEXT + 8];
    char id[SB_UUID_TEXT];
    (void)snprintf(text, sizeof text, "saga %s", sb_uuid_format(parent, id));
    sb_pg_array_add_int8(&undos->numbers, no);
    sb_pg_array_add_slice(&undos->by, sb_slice(text));
}

static sb_code_t ask_undos(sb_orchestrator_t *o, const undos_t *undos, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (undos->numbers.count == 0)
        return SB_OK;
    if (sb_pg_array_failed(&undos->numbers) || sb_pg_array_failed(&undos->by))
        return sb_fail(err, SB_NO_MEMORY, "undo sagas: out of memory");
    sb_pg_add_array(&params, &undos->numbers);
    sb_pg_add_array(&params, &undos->by);
    return sb_pg_query(o->pg, sb_sql_saga_children_undo, &params, NULL, err);
}

/* ---- a turn ---- */

static sb_code_t look(sb_orchestrator_t *o, sb_child_t *const *looked, int count, sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    undos_t undos;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    sb_pg_array_init(&undos.numbers, SB_PG_INT8);
    sb_pg_array_init(&undos.by, SB_PG_TEXT);
    for (int i = 0; i < count; i++)
        sb_pg_array_add_int8(&numbers, looked[i]->no);
    sb_pg_add_array(&params, &numbers);
    sb_pg_add_int4(&params, o->type_no[SB_SAGA_EV_STEP_FAILED]);
    sb_code_t code = sb_pg_array_failed(&numbers)
                         ? sb_fail(err, SB_NO_MEMORY, "look at sagas: out of memory")
                         : sb_pg_query(o->pg, sb_sql_saga_children, &params, &rows, err);
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++) {
        sb_child_t *child = looked[sb_pg_get_int(rows, row, 0) - 1];
        sight_t sight = read_sight(rows, row);
        int64_t no = child->no;
        sb_uuid_t parent = child->parent->id;
        bool undo =
            child->direction == SB_FORWARD ? judge_forward(o, child, &sight) : judge_undo(o, child, &sight);
        if (undo)
            add_undo(&undos, no, &parent);
    }
    if (code == SB_OK)
        code = ask_undos(o, &undos, err);
    sb_pg_result_free(rows);
    sb_pg_array_fini(&numbers);
    sb_pg_array_fini(&undos.numbers);
    sb_pg_array_fini(&undos.by);
    return code;
}

sb_code_t sb_children_tend(sb_orchestrator_t *o, sb_error_t *err)
{
    sb_child_t *looked[IN_ONE_TURN];
    int count = 0;
    int64_t mono = o->children.waiting.first ? sb_mono_us() : 0;
    for (sb_child_t *child; (child = o->children.waiting.first) && child->look_us <= mono;)
        make_due(o, child);
    for (sb_child_t *child = o->children.due.first, *next; child && count < IN_ONE_TURN; child = next) {
        next = child->next;
        wish_t wish = wish_of(child);
        if (wish == UNWANTED) {
            drop(o, child);
            continue;
        }
        make_wait(o, child);
        if (child->stage == TO_START && wish != WANTED_LATER)
            start(o, child, wish == UNDO_WANTED);
        else if (child->stage == REFUSED)
            conclude_refused(o, child);
        else if (child->stage == FOLLOWED && wish == WANTED && sb_open_sagas_find(&o->sagas, child->no))
            say_pending(o, child); /* it is here and runs: its end will be told */
        else if (child->stage == FOLLOWED)
            looked[count++] = child;
    }
    return count > 0 ? look(o, looked, count, err) : SB_OK;
}
