/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simulator.h"

#include "base/json.h"
#include "saga/event_body.h"
#include "saga/orchestrator/children.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS          24
#define SAGAS_MAX     512 /* numbers drawn, those of failed starts too */
#define ORCHESTRATORS 3
#define BATCH_MAX     8
#define INBOX_MAX     512
#define REPLIES_MAX   16384
#define EVENTS_MAX    96 /* of one saga */
#define BODY_MAX      400
#define MS            1000
#define FAULTS_END_US (15000 * MS)
#define GIVE_UP_US    (FAULTS_END_US + 180000LL * MS)
#define OVERDUE_US    (1000 * MS)
#define TICK_US       (100 * MS)
#define CHILD_KEY     KEYS /* of every saga that is a step of another, which its parent tells apart */
#define TYPES         (CHAOS_TYPES + 1)
#define LOOK_US       (500 * MS)   /* as in saga/orchestrator/children.c: a child is looked at … */
#define PENDING_US    (10000 * MS) /* … and the machine is told that it runs */

/* ---- what there is ---- */

typedef struct letter { /* a command, or the reply to one */
    int no;
    uint64_t salt; /* the rest of the saga's id */
    int step;
    sb_direction_t direction;
    uint16_t round, attempt;
    bool forward_unknown;
    sb_outcome_t outcome;
} letter_t;

typedef struct parent { /* of a saga that is a step of another; salt 0: a client started it */
    int no;
    uint64_t salt;
} parent_t;

typedef struct stored_event {
    int64_t at_us, epoch, seq;
    sb_saga_event_kind_t kind;
    char body[BODY_MAX];
} stored_event_t;

typedef struct stored_saga {
    bool there;
    int key;
    uint64_t salt;
    parent_t parent;
    int status, count;
    stored_event_t event[EVENTS_MAX];
} stored_saga_t;

typedef enum row { ROW_NONE, ROW_SUCCESS, ROW_FAILURE, ROW_VOIDED } row_t;

typedef enum stage { NO_CHILD, TO_START, STARTING, FOLLOWED } stage_t;

/* The command of a step that is a saga, in hand: what children.c keeps of it. */
typedef struct child {
    stage_t stage;
    int step, no;
    sb_direction_t direction;
    uint16_t round;
    int64_t look_us, said_us, asked_us, asking_us;
} child_t;

typedef struct open_saga {
    bool known;
    int key;
    uint64_t salt;
    parent_t parent;
    sb_saga_state_t state;
    bool touched; /* by the batch in hand: then `next` is what it decided */
    bool fresh;
    sb_saga_state_t next;
} open_saga_t;

typedef enum item_kind { ITEM_START, ITEM_REPLY, ITEM_TIMER, ITEM_CANCEL, ITEM_UNDO } item_kind_t;

typedef struct item {
    item_kind_t kind;
    int key; /* of a start */
    bool other_input;
    parent_t parent; /* of a start */
    bool voided;     /* likewise: it is to do nothing */
    int no;
    letter_t letter;
    int offset; /* of a reply; -1: it came from no partition */
} item_t;

typedef struct decided_event {
    int no;
    stored_event_t event;
} decided_event_t;

typedef struct order {
    letter_t letter;
} order_t;

typedef struct commit {
    bool in_use;
    int orchestrator, generation;
    int64_t epoch;
    int cursor, next;
    item_t item[BATCH_MAX];
    int item_no[BATCH_MAX]; /* of a start: its new saga */
    uint64_t item_salt[BATCH_MAX];
    int items;
    decided_event_t event[BATCH_MAX * 24];
    int events;
    order_t order[BATCH_MAX * CHAOS_STEPS];
    int orders;
    bool arrived;
    bool lost_start[BATCH_MAX]; /* its key was there */
} commit_t;

typedef struct orchestrator {
    bool alive;
    int generation;
    int64_t paused_until, epoch; /* epoch 0: no shard */
    bool taking;
    commit_t *commit; /* in flight */
    int cursor, read_to, next;
    item_t inbox[INBOX_MAX];
    int inbox_count;
    open_saga_t saga[SAGAS_MAX];
    child_t child[SAGAS_MAX]; /* of each saga: at most one step of ours is a saga */
} orchestrator_t;

typedef enum what {
    DO_TICK,    /* a: orchestrator */
    DO_TIMER,   /* a, b: saga, c: wake */
    DO_TAKEN,   /* a, generation b, c: epoch */
    DO_ARRIVE,  /* commit a reaches the store */
    DO_ANSWER,  /* commit a: its answer, b: result */
    DO_CRASH,   /* a */
    DO_RESTART, /* a */
    DO_PAUSE,   /* a */
    DO_COMMAND, /* letter */
    DO_REPLY,   /* letter */
    DO_START,   /* client asks: a: key, b: other input */
    DO_CANCEL,  /* a: key */
    DO_LOOK     /* a: key */
} what_t;

typedef enum answer { ANSWER_DONE, ANSWER_FENCED, ANSWER_NONE } answer_t;

typedef struct happening {
    int64_t at_us;
    uint64_t order;
    what_t what;
    int a, b;
    int64_t c;
    letter_t letter;
} happening_t;

typedef struct sim {
    sim_bug_t bug;
    sim_result_t *out;
    uint64_t random;
    int lost_rate, late_rate, twice_rate, broken_rate; /* per mille; each seed has its own */
    int64_t calm_us;                                   /* between two crashes of an orchestrator, at most */
    int64_t now_us;
    uint64_t drawn; /* happenings so far: what comes at the same time comes in this order */
    happening_t *heap;
    size_t heap_count, heap_max;

    /* the store */
    int64_t lease_epoch, beat_us;
    int lease_owner; /* -1: none, or its connection is gone */
    int lease_cursor, lease_next;
    stored_saga_t saga[SAGAS_MAX];
    bool undo_asked[SAGAS_MAX]; /* by the owner of its parent: a verb for its own */

    letter_t reply[REPLIES_MAX]; /* the reply partition */
    int replies;
    row_t row[SAGAS_MAX][CHAOS_STEPS][2]
             [4]; /* barriers; the last index is the attempt where a bug wants it */
    uint64_t row_salt[SAGAS_MAX][CHAOS_STEPS];
    int64_t held[CHAOS_SERVICES], logged[CHAOS_SERVICES];

    orchestrator_t orchestrator[ORCHESTRATORS];
    commit_t commit[ORCHESTRATORS * 8];
    bool accepted[KEYS];
    sb_definition_t *definition[TYPES];
    sb_definition_t given[TYPES]; /* to the machine */
    int64_t seq;                  /* events stored so far */
    sb_buf_t text, scratch;
} sim_t;

static const int64_t opening = 100000;

/* ---- chance, trace ---- */

static uint64_t draw(sim_t *sim)
{
    uint64_t z = (sim->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int64_t between(sim_t *sim, int64_t least, int64_t most)
{
    return least + (int64_t)(draw(sim) % (uint64_t)(most - least + 1));
}

static bool faulty(const sim_t *sim)
{
    return sim->now_us < FAULTS_END_US;
}

/* Faults end; what is drawn does not change with that. */
static bool chance(sim_t *sim, int per_mille)
{
    return draw(sim) % 1000 < (uint64_t)per_mille && faulty(sim);
}

static void trace(sim_t *sim, uint64_t value)
{
    sim->out->trace = (sim->out->trace ^ value) * UINT64_C(1099511628211);
    sim->out->trace ^= sim->out->trace >> 31;
}

static void note(sim_t *sim, sim_count_t what)
{
    sim->out->count[what]++;
}

/* ---- the clock ---- */

static bool earlier(const happening_t *a, const happening_t *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static happening_t *later(sim_t *sim, int64_t in_us, what_t what)
{
    if (sim->heap_count == sim->heap_max) {
        sim->heap_max = sim->heap_max ? sim->heap_max * 2 : 1024;
        sim->heap = realloc(sim->heap, sim->heap_max * sizeof *sim->heap);
        assert_non_null(sim->heap);
    }
    happening_t h = {.at_us = sim->now_us + in_us, .order = sim->drawn++, .what = what};
    size_t at = sim->heap_count++;
    while (at > 0 && earlier(&h, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = h;
    return &sim->heap[at]; /* good until the next call */
}

static happening_t next_happening(sim_t *sim)
{
    happening_t first = sim->heap[0], last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim->heap_count)
            break;
        if (child + 1 < sim->heap_count && earlier(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!earlier(&sim->heap[child], &last))
            break;
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return first;
}

static void at_orchestrator(sim_t *sim, int64_t in_us, what_t what, int a, int b, int64_t c)
{
    happening_t *h = later(sim, in_us, what);
    h->a = a;
    h->b = b;
    h->c = c;
}

/* ---- names ---- */

static int definition_at(int key)
{
    return key == CHILD_KEY ? CHAOS_TYPES : key % CHAOS_TYPES;
}

/* The last type but payment is the one with a saga as a step: combo. */
static const chaos_type_t *type_of(int key)
{
    return &chaos_type[key == CHILD_KEY ? CHAOS_TYPES - 1 : key % CHAOS_TYPES];
}

static const char *type_name(int key)
{
    return key == CHILD_KEY ? "payment" : type_of(key)->name;
}

static sb_definition_t *definition_of(sim_t *sim, int key)
{
    return &sim->given[definition_at(key)];
}

/* What a step of a definition does, as the record has it: a child's steps stand in the place of the parent's.
 */
static const chaos_step_t *effect_of(sim_t *sim, int key, int step)
{
    const chaos_type_t *type = type_of(key);
    return &type->step[chaos_step_named(type, definition_of(sim, key)->step[step].name)];
}

static void name_key(char out[CHAOS_KEY_MAX], int key)
{
    (void)snprintf(out, CHAOS_KEY_MAX, "%s-%d", type_of(key)->name, key);
}

static void name_id(char out[CHAOS_ID_MAX], int no, uint64_t salt)
{
    (void)snprintf(out, CHAOS_ID_MAX, "%06d-%016llx", no, (unsigned long long)salt);
}

static void name_saga(char out[CHAOS_KEY_MAX], int key, const parent_t *parent)
{
    char id[CHAOS_ID_MAX];
    if (key != CHILD_KEY) {
        name_key(out, key);
        return;
    }
    name_id(id, parent->no, parent->salt);
    (void)snprintf(out, CHAOS_KEY_MAX, "saga:%s/buy/1", id);
}

/* ---- the bus ---- */

static void deliver(sim_t *sim, what_t what, const letter_t *letter, int64_t in_us)
{
    later(sim, in_us, what)->letter = *letter;
}

static void post(sim_t *sim, what_t what, const letter_t *letter)
{
    int64_t soon = between(sim, 1 * MS, 20 * MS);
    if (chance(sim, sim->lost_rate)) {
        note(sim, SIM_N_MESSAGE_LOST);
        return;
    }
    if (chance(sim, sim->twice_rate)) {
        note(sim, SIM_N_MESSAGE_TWICE);
        deliver(sim, what, letter, between(sim, 1 * MS, 5000 * MS));
    }
    if (chance(sim, sim->late_rate)) {
        note(sim, SIM_N_MESSAGE_LATE);
        soon = between(sim, 100 * MS, 9000 * MS);
    }
    deliver(sim, what, letter, soon);
}

/* ---- participants ---- */

static int key_in(const letter_t *letter) /* what its body would say */
{
    return (int)(letter->salt >> 32);
}

static bool is_for_child(sim_t *sim, const letter_t *letter)
{
    return definition_of(sim, key_in(letter))->step[letter->step].child != NULL;
}

static void take_effect(sim_t *sim, const letter_t *letter)
{
    const chaos_step_t *step = effect_of(sim, key_in(letter), letter->step);
    static const int64_t deltas[CHAOS_SERVICES] = {-10, 10, -1, 0};
    bool undo = letter->direction == SB_COMPENSATE;
    chaos_effect_t effect = {
        .service = step->service,
        .compensate = undo,
        .at_us = (int64_t)sim->out->record.effects + sim->now_us * 1000,
        .delta = strcmp(step->name, "hold") == 0 ? 0 : deltas[step->service] * (undo ? -1 : 1)};
    if (step->no_effect)
        return;
    name_id(effect.id, letter->no, letter->salt);
    (void)snprintf(effect.step, sizeof effect.step, "%s", step->name);
    chaos_add_effect(&sim->out->record, &effect);
    sim->held[step->service] += effect.delta;
    sim->logged[step->service] += effect.delta;
}

/* A number that was drawn twice is of two sagas: so is its barrier's row. */
static row_t *row_of(sim_t *sim, const letter_t *letter, sb_direction_t direction)
{
    row_t(*rows)[4] = sim->row[letter->no][letter->step];
    uint64_t *salt = &sim->row_salt[letter->no][letter->step];
    if (*salt != letter->salt) {
        memset(rows, 0, sizeof sim->row[0][0]);
        *salt = letter->salt;
    }
    return &rows[direction][sim->bug == SIM_KEY_OF_ATTEMPT ? letter->attempt % 4 : 0];
}

static bool is_refused(sim_t *sim, const letter_t *letter)
{
    const chaos_step_t *step = effect_of(sim, key_in(letter), letter->step);
    bool last = letter->step == definition_of(sim, key_in(letter))->step_count - 1 || step->pivot;
    return letter->salt % 5 == 0 && last && !step->forward_only;
}

static sb_outcome_t judge_undo(sim_t *sim, const letter_t *letter)
{
    row_t *forward = row_of(sim, letter, SB_FORWARD);
    if (*forward == ROW_NONE && !letter->forward_unknown && sim->bug == SIM_NONE)
        return SB_OUTCOME_ERROR; /* said to be done, and not known here: checked for below */
    if (*forward == ROW_NONE) {
        note(sim, SIM_N_VOIDED);
        if (sim->bug != SIM_EMPTY_UNDO_LEAVES_NOTHING)
            *forward = ROW_VOIDED;
        if (sim->bug == SIM_EMPTY_UNDO_ACTS)
            take_effect(sim, letter);
    } else if (*forward == ROW_SUCCESS) {
        take_effect(sim, letter);
    }
    return SB_OUTCOME_SUCCESS;
}

/* One transaction: barrier and effect. */
static sb_outcome_t handle(sim_t *sim, const letter_t *letter)
{
    row_t *row = row_of(sim, letter, letter->direction);
    if (*row != ROW_NONE && sim->bug != SIM_NO_BARRIER) {
        note(sim, *row == ROW_VOIDED ? SIM_N_HANGING_BLOCKED : SIM_N_REPEAT);
        return *row == ROW_SUCCESS ? SB_OUTCOME_SUCCESS : SB_OUTCOME_FAILURE;
    }
    sb_outcome_t outcome = SB_OUTCOME_SUCCESS;
    if (letter->direction == SB_COMPENSATE)
        outcome = judge_undo(sim, letter);
    else if (is_refused(sim, letter))
        outcome = SB_OUTCOME_FAILURE;
    else
        take_effect(sim, letter);
    if (outcome != SB_OUTCOME_ERROR)
        *row = outcome == SB_OUTCOME_SUCCESS ? ROW_SUCCESS : ROW_FAILURE;
    return outcome;
}

static void on_command(sim_t *sim, const letter_t *letter)
{
    letter_t reply = *letter;
    bool again = false;
    if (chance(sim, 20)) { /* it comes again, as its offset was not committed */
        note(sim, SIM_N_DIED_BEFORE);
        if (sim->bug == SIM_REPLY_BEFORE_COMMIT) {
            reply.outcome = SB_OUTCOME_SUCCESS;
            post(sim, DO_REPLY, &reply);
            return; /* the offset had gone out with the reply */
        }
        deliver(sim, DO_COMMAND, letter, between(sim, 100 * MS, 3000 * MS));
        return;
    }
    if (chance(sim, 20)) {
        reply.outcome = chance(sim, 500) ? SB_OUTCOME_ERROR : SB_OUTCOME_PENDING;
        again = reply.outcome == SB_OUTCOME_PENDING;
    } else {
        reply.outcome = handle(sim, letter);
    }
    if (chance(sim, 20)) {
        note(sim, SIM_N_DIED_AFTER);
        deliver(sim, DO_COMMAND, letter, between(sim, 100 * MS, 3000 * MS));
        return;
    }
    if (again)
        deliver(sim, DO_COMMAND, letter, between(sim, 100 * MS, 1000 * MS));
    post(sim, DO_REPLY, &reply);
}

/* ---- an orchestrator: items ---- */

static bool add_item(orchestrator_t *o, const item_t *item)
{
    if (o->inbox_count == INBOX_MAX)
        return false;
    o->inbox[o->inbox_count++] = *item;
    return true;
}

static void read_replies(sim_t *sim, orchestrator_t *o)
{
    for (; o->read_to < sim->replies; o->read_to++) {
        const letter_t *letter = &sim->reply[o->read_to];
        item_t item = {.kind = ITEM_REPLY, .no = letter->no, .letter = *letter, .offset = o->read_to};
        if (!add_item(o, &item))
            return;
    }
}

static void set_timer(sim_t *sim, int number, int no, int64_t wake_us)
{
    if (wake_us > 0)
        at_orchestrator(sim, wake_us > sim->now_us ? wake_us - sim->now_us : 0, DO_TIMER, number, no,
                        wake_us);
}

static int64_t wake_of(sim_t *sim, const open_saga_t *saga)
{
    sb_decision_t ignored;
    sb_saga_input_t nothing = {.kind = SB_SAGA_IN_RETRY, .step = SB_STEPS_MAX};
    if (sb_saga_is_over(&saga->state))
        return 0;
    sb_machine_decide(definition_of(sim, saga->key), &saga->state, &nothing, sim->now_us, &ignored, NULL);
    return ignored.wake_us;
}

/* ---- deciding ---- */

static void silence_is_refusal(const sb_saga_state_t *state, sb_saga_input_t *input, int64_t now_us)
{
    for (int i = 0; i < CHAOS_STEPS && input->kind == SB_SAGA_IN_TIMER; i++) {
        const sb_step_state_t *st = &state->step[i];
        if (st->status == SB_STEP_DISPATCHED && !st->waiting && st->wake_us <= now_us && st->attempt >= 3)
            *input = (sb_saga_input_t){
                .kind = SB_SAGA_IN_REPLY, .step = i, .round = st->round, .outcome = SB_OUTCOME_FAILURE};
    }
}

static void add_order(sim_t *sim, commit_t *commit, int no, const open_saga_t *saga,
                      const sb_saga_order_t *order)
{
    assert_true(commit->orders < (int)(sizeof commit->order / sizeof commit->order[0]));
    commit->order[commit->orders++].letter = (letter_t){.no = no,
                                                        .salt = saga->salt,
                                                        .step = order->step,
                                                        .direction = order->direction,
                                                        .round = order->round,
                                                        .attempt = order->attempt,
                                                        .forward_unknown = order->forward_unknown};
    if (sim->bug != SIM_ALL_UNDOS_AT_ONCE || order->direction != SB_COMPENSATE)
        return;
    for (int i = 0;
         i < order->step && commit->orders + 1 < (int)(sizeof commit->order / sizeof commit->order[0]); i++) {
        letter_t early = commit->order[commit->orders - 1].letter;
        early.step = i;
        if (saga->next.step[i].status == SB_STEP_COMPLETED &&
            definition_of(sim, saga->key)->step[i].compensation)
            commit->order[commit->orders++].letter = early;
    }
}

static void keep_event(sim_t *sim, commit_t *commit, int no, const open_saga_t *saga,
                       const sb_saga_event_t *event)
{
    char key[CHAOS_KEY_MAX];
    name_saga(key, saga->key, &saga->parent);
    const sb_saga_head_t head = {.type = sb_slice(type_name(saga->key)), .key = sb_slice(key)};
    assert_true(commit->events < (int)(sizeof commit->event / sizeof commit->event[0]));
    decided_event_t *out = &commit->event[commit->events++];
    *out = (decided_event_t){.no = no,
                             .event = {.at_us = event->at_us, .kind = event->kind, .epoch = commit->epoch}};
    sb_buf_reset(&sim->text);
    sb_saga_event_write(definition_of(sim, saga->key), event, &head, &sim->text);
    assert_true(sim->text.len < BODY_MAX);
    (void)snprintf(out->event.body, BODY_MAX, "%s", sb_buf_text(&sim->text));
    if (event->kind == SB_SAGA_EV_STEP_FAILED && event->unknown)
        note(sim, SIM_N_UNKNOWN);
    if (event->kind == SB_SAGA_EV_ANOMALY)
        note(sim, SIM_N_ANOMALY);
}

static void decide(sim_t *sim, commit_t *commit, int no, open_saga_t *saga, sb_saga_input_t *input)
{
    sb_decision_t decision;
    sb_saga_state_t before = saga->touched ? saga->next : saga->state;
    saga->touched = true;
    if (sim->bug == SIM_SILENCE_IS_REFUSAL)
        silence_is_refusal(&before, input, sim->now_us);
    if (sim->bug == SIM_CANCEL_REOPENS && input->kind == SB_SAGA_IN_CANCEL &&
        before.status == SB_SAGA_COMPLETED) {
        before.status = SB_SAGA_STARTED;
        before.past_pivot = false;
    }
    sb_machine_decide(definition_of(sim, saga->key), &before, input, sim->now_us, &decision, &saga->next);
    for (int i = 0; i < decision.event_count; i++)
        keep_event(sim, commit, no, saga, &decision.event[i]);
    for (int i = 0; i < decision.order_count; i++)
        add_order(sim, commit, no, saga, &decision.order[i]);
    if (input->kind == SB_SAGA_IN_CANCEL && !decision.refused)
        note(sim, SIM_N_CANCEL);
}

static void decide_start(sim_t *sim, orchestrator_t *o, commit_t *commit, int at)
{
    sb_saga_input_t input = {.kind = SB_SAGA_IN_START, .step = -1, .voided = commit->item[at].voided};
    int no = commit->next++;
    assert_true(no < SAGAS_MAX);
    open_saga_t *saga = &o->saga[no];
    *saga = (open_saga_t){.key = commit->item[at].key, .parent = commit->item[at].parent, .fresh = true};
    saga->salt = (uint64_t)saga->key << 32 | (draw(sim) & 0xffffffff);
    sb_saga_state_init(&saga->state);
    commit->item_no[at] = no;
    commit->item_salt[at] = saga->salt;
    decide(sim, commit, no, saga, &input);
}

/* Whatever it has come to; twice in a batch it is on its way back the second time. */
static void undo_child(sim_t *sim, commit_t *commit, int no, open_saga_t *saga)
{
    sb_saga_input_t input = {.kind = SB_SAGA_IN_UNDO, .step = -1, .reason = SB_SLICE("parent")};
    const sb_saga_state_t *now = saga->touched ? &saga->next : &saga->state;
    if (!saga->known || now->status == SB_SAGA_COMPENSATED)
        return;
    if (now->status == SB_SAGA_COMPLETED)
        note(sim, SIM_N_CHILD_UNDONE);
    decide(sim, commit, no, saga, &input);
}

static void decide_item(sim_t *sim, orchestrator_t *o, commit_t *commit, int at)
{
    const item_t *item = &commit->item[at];
    open_saga_t *saga = &o->saga[item->no];
    sb_saga_input_t input = {.step = -1, .random = draw(sim), .reason = SB_SLICE("client")};
    if (item->kind == ITEM_START) {
        decide_start(sim, o, commit, at);
        return;
    }
    bool over = sb_saga_is_over(&saga->state) && sim->bug != SIM_CANCEL_REOPENS;
    if (item->kind == ITEM_UNDO) {
        undo_child(sim, commit, item->no, saga);
        return;
    }
    if (!saga->known || over) {
        if (item->kind == ITEM_REPLY && saga->known)
            note(sim, SIM_N_LATE_REPLY);
        return;
    }
    if (item->kind == ITEM_REPLY) {
        if (item->letter.salt != saga->salt)
            return;
        input.kind = SB_SAGA_IN_REPLY;
        input.step = item->letter.step;
        input.direction = item->letter.direction;
        input.round = item->letter.round;
        input.attempt = item->letter.attempt;
        input.outcome = item->letter.outcome;
        input.result = SB_SLICE("{}");
    } else {
        input.kind = item->kind == ITEM_TIMER ? SB_SAGA_IN_TIMER : SB_SAGA_IN_CANCEL;
    }
    decide(sim, commit, item->no, saga, &input);
}

/* ---- clients ---- */

static void tell(sim_t *sim, int key, chaos_op_t op, chaos_verdict_t verdict, int http, int no, int status)
{
    chaos_call_t call = {.at_ms = sim->now_us / MS, .op = op, .verdict = verdict, .http = http};
    name_key(call.key, key);
    if (verdict == CHAOS_OK && no >= 0)
        name_id(call.id, no, sim->saga[no].salt);
    (void)snprintf(call.status, sizeof call.status, "%s", sb_saga_status_name((sb_saga_status_t)status));
    chaos_add_call(&sim->out->record, &call);
}

static void ask_again(sim_t *sim, int key)
{
    at_orchestrator(sim, between(sim, 200 * MS, 800 * MS), DO_START, key, 0, 0);
}

static void on_start_asked(sim_t *sim, int key, bool other_input)
{
    int to = (int)(draw(sim) % ORCHESTRATORS);
    orchestrator_t *o = &sim->orchestrator[to];
    item_t item = {.kind = ITEM_START, .key = key, .other_input = other_input, .offset = -1};
    tell(sim, key, other_input ? CHAOS_OTHER_INPUT : CHAOS_START, CHAOS_INVOKED, 0, -1, 0);
    if (o->alive && o->epoch && sim->now_us >= o->paused_until && o->inbox_count < INBOX_MAX / 2)
        (void)add_item(o, &item);
    if (!other_input && !sim->accepted[key])
        ask_again(sim, key);
}

static int number_of_key(const sim_t *sim, int key)
{
    for (int no = 0; no < SAGAS_MAX; no++)
        if (sim->saga[no].there && sim->saga[no].key == key)
            return no;
    return -1;
}

/* The key of a saga that is a step names its parent, so this is the look for its key. */
static int number_of_child(const sim_t *sim, const parent_t *parent)
{
    for (int no = 0; no < SAGAS_MAX; no++)
        if (sim->saga[no].there && sim->saga[no].key == CHILD_KEY && sim->saga[no].parent.no == parent->no &&
            sim->saga[no].parent.salt == parent->salt)
            return no;
    return -1;
}

static int number_of_start(const sim_t *sim, const item_t *item)
{
    return item->key == CHILD_KEY ? number_of_child(sim, &item->parent) : number_of_key(sim, item->key);
}

static void answer_start(sim_t *sim, const commit_t *commit, int at)
{
    const item_t *item = &commit->item[at];
    int no = commit->lost_start[at] ? number_of_key(sim, item->key) : commit->item_no[at];
    if (item->other_input) {
        bool taken = sim->bug == SIM_KEY_NOT_COMPARED;
        tell(sim, item->key, CHAOS_OTHER_INPUT, taken ? CHAOS_OK : CHAOS_REFUSED, taken ? 200 : 422, no, 0);
        return;
    }
    chaos_call_t call = {.at_ms = sim->now_us / MS, .op = CHAOS_START, .verdict = CHAOS_OK, .http = 200};
    name_key(call.key, item->key);
    name_id(call.id, no, commit->lost_start[at] ? sim->saga[no].salt : commit->item_salt[at]);
    chaos_add_call(&sim->out->record, &call);
    sim->accepted[item->key] = true;
}

/* ---- a batch ---- */

static void send_orders(sim_t *sim, const commit_t *commit)
{
    for (int i = 0; i < commit->orders; i++)
        if (!is_for_child(sim, &commit->order[i].letter))
            post(sim, DO_COMMAND, &commit->order[i].letter);
}

static commit_t *new_commit(sim_t *sim)
{
    for (size_t i = 0; i < sizeof sim->commit / sizeof sim->commit[0]; i++)
        if (!sim->commit[i].in_use)
            return &sim->commit[i];
    return NULL;
}

/* Takes what waits, decides it, and sends one transaction; it may be empty, as a beat. */
static void begin_batch(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    commit_t *commit = new_commit(sim);
    if (!commit)
        return;
    int count = o->inbox_count < BATCH_MAX ? o->inbox_count : BATCH_MAX;
    commit->in_use = true;
    commit->orchestrator = number;
    commit->generation = o->generation;
    commit->epoch = o->epoch;
    commit->next = o->next;
    commit->cursor = o->cursor;
    commit->items = count;
    commit->events = commit->orders = 0;
    commit->arrived = false;
    memset(commit->lost_start, 0, sizeof commit->lost_start);
    for (int i = 0; i < count; i++) {
        commit->item[i] = o->inbox[i];
        if (o->inbox[i].kind == ITEM_REPLY && o->inbox[i].offset >= 0)
            commit->cursor = o->inbox[i].offset + 1;
        decide_item(sim, o, commit, i);
    }
    memmove(o->inbox, o->inbox + count, (size_t)(o->inbox_count - count) * sizeof *o->inbox);
    o->inbox_count -= count;
    o->commit = commit;
    if (sim->bug == SIM_SEND_BEFORE_COMMIT)
        send_orders(sim, commit);
    for (int i = 0; i < count && sim->bug == SIM_ANSWER_BEFORE_COMMIT; i++)
        if (commit->item[i].kind == ITEM_START && commit->item[i].key != CHILD_KEY &&
            !commit->item[i].other_input && number_of_key(sim, commit->item[i].key) < 0)
            answer_start(sim, commit, i);
    int which = (int)(commit - sim->commit);
    int64_t way_us = between(sim, MS / 2, 5 * MS);
    if (chance(sim, sim->broken_rate)) { /* the connection breaks: lost on its way, or done when nobody waits
                                            any more */
        bool lost = chance(sim, 500);
        note(sim, lost ? SIM_N_COMMIT_LOST_UNDONE : SIM_N_COMMIT_LATE);
        at_orchestrator(sim, way_us, DO_ANSWER, which, ANSWER_NONE, commit->epoch);
        if (!lost)
            at_orchestrator(sim, way_us + between(sim, 1, 2000 * MS), DO_ARRIVE, which, 1, commit->epoch);
        commit->arrived = lost;
        return;
    }
    at_orchestrator(sim, way_us, DO_ARRIVE, which, 0, commit->epoch);
}

/* ---- the store ---- */

static bool key_is_there(const sim_t *sim, const item_t *item)
{
    if (item->key == CHILD_KEY && sim->bug == SIM_CHILD_TWICE)
        return false;
    return number_of_start(sim, item) >= 0;
}

static void store_event(sim_t *sim, int no, const stored_event_t *event)
{
    stored_saga_t *saga = &sim->saga[no];
    assert_true(saga->count < EVENTS_MAX);
    saga->event[saga->count] = *event;
    saga->event[saga->count++].seq = ++sim->seq;
    if (event->kind == SB_SAGA_EV_COMPLETED)
        saga->status = SB_SAGA_COMPLETED;
    if (event->kind == SB_SAGA_EV_COMPENSATING)
        saga->status = SB_SAGA_COMPENSATING;
    if (event->kind == SB_SAGA_EV_COMPENSATED)
        saga->status = SB_SAGA_COMPENSATED;
}

static void write_rows(sim_t *sim, commit_t *commit)
{
    for (int i = 0; i < commit->items; i++) {
        if (commit->item[i].kind == ITEM_UNDO)
            sim->undo_asked[commit->item[i].no] = false;
        if (commit->item[i].kind != ITEM_START)
            continue;
        int no = commit->item_no[i];
        commit->lost_start[i] = key_is_there(sim, &commit->item[i]);
        if (commit->lost_start[i]) {
            note(sim, commit->item[i].key == CHILD_KEY ? SIM_N_CHILD_AGAIN : SIM_N_KEY_LOST);
            continue;
        }
        if (commit->item[i]
                .other_input) { /* the first of its key; then it is the input, for the model's sake */
            commit->lost_start[i] = true;
            continue;
        }
        sim->saga[no] = (stored_saga_t){.there = true,
                                        .key = commit->item[i].key,
                                        .parent = commit->item[i].parent,
                                        .salt = commit->item_salt[i],
                                        .status = SB_SAGA_STARTED};
    }
    for (int i = 0; i < commit->events; i++) {
        bool lost = !sim->saga[commit->event[i].no].there;
        for (int k = 0; k < commit->items; k++)
            lost = lost || (commit->item[k].kind == ITEM_START && commit->lost_start[k] &&
                            commit->item_no[k] == commit->event[i].no);
        if (!lost)
            store_event(sim, commit->event[i].no, &commit->event[i].event);
    }
    sim->lease_cursor = commit->cursor;
    sim->lease_next = commit->next;
    sim->beat_us = sim->now_us;
}

static void on_arrive(sim_t *sim, int which, bool nobody_waits)
{
    commit_t *commit = &sim->commit[which];
    answer_t answer = ANSWER_FENCED;
    commit->arrived = true;
    if (sim->lease_epoch == commit->epoch || sim->bug == SIM_NO_FENCE) {
        write_rows(sim, commit);
        answer = ANSWER_DONE;
    } else {
        note(sim, SIM_N_FENCED);
    }
    if (nobody_waits) {
        commit->in_use = false;
        return;
    }
    if (answer == ANSWER_DONE && chance(sim, sim->broken_rate)) {
        note(sim, SIM_N_COMMIT_LOST_DONE);
        answer = ANSWER_NONE;
    }
    at_orchestrator(sim, between(sim, MS / 2, 5 * MS), DO_ANSWER, which, (int)answer, commit->epoch);
}

/* ---- steps that are sagas, after saga/orchestrator/children.c ---- */

static void send(sim_t *sim, orchestrator_t *o, const letter_t *letter)
{
    child_t *child = &o->child[letter->no];
    if (!is_for_child(sim, letter)) {
        post(sim, DO_COMMAND, letter);
        return;
    }
    bool same =
        child->stage != NO_CHILD && child->round == letter->round && child->direction == letter->direction;
    if (!same)
        *child = (child_t){.stage = TO_START,
                           .step = letter->step,
                           .direction = letter->direction,
                           .round = letter->round,
                           .said_us = sim->now_us};
    child->look_us = sim->now_us;
}

/* Its start is committed, or its key was found: from now on its row is looked at. */
static void follow_child(sim_t *sim, orchestrator_t *o, const commit_t *commit, int at)
{
    const item_t *item = &commit->item[at];
    const open_saga_t *parent = &o->saga[item->parent.no];
    child_t *child = &o->child[item->parent.no];
    if (!parent->known || parent->salt != item->parent.salt || child->stage != STARTING)
        return;
    child->stage = FOLLOWED;
    child->no = commit->lost_start[at] ? number_of_child(sim, &item->parent) : commit->item_no[at];
    child->look_us = sim->now_us;
}

/* One that ended is looked at by its parent at once, and one that turned back looks at its child. */
static void look_at_family(const sim_t *sim, orchestrator_t *o, int no)
{
    const open_saga_t *saga = &o->saga[no];
    if (saga->key == CHILD_KEY && sb_saga_is_over(&saga->state))
        o->child[saga->parent.no].look_us = sim->now_us;
    if (saga->state.status == SB_SAGA_COMPENSATING)
        o->child[no].look_us = sim->now_us;
}

static void answer_parent(orchestrator_t *o, int no, sb_outcome_t outcome)
{
    child_t *child = &o->child[no];
    item_t item = {.kind = ITEM_REPLY,
                   .no = no,
                   .letter = {.no = no,
                              .salt = o->saga[no].salt,
                              .step = child->step,
                              .direction = child->direction,
                              .round = child->round,
                              .outcome = outcome},
                   .offset = -1};
    if (add_item(o, &item) && outcome != SB_OUTCOME_PENDING)
        child->stage = NO_CHILD;
}

static void start_child(sim_t *sim, orchestrator_t *o, int no, bool voided)
{
    item_t item = {.kind = ITEM_START,
                   .key = CHILD_KEY,
                   .parent = {no, o->saga[no].salt},
                   .voided = voided,
                   .offset = -1};
    if (!add_item(o, &item))
        return;
    note(sim, voided ? SIM_N_CHILD_VOID : SIM_N_CHILD_STARTED);
    o->child[no].stage = STARTING;
}

/* A statement of its own, of whoever believes to own the parent: the epoch does not guard it. */
static void ask_undo(sim_t *sim, child_t *child)
{
    int64_t wait_us = sb_children_ask_again_us(child->asked_us - child->asking_us);
    bool asked = child->asked_us && sim->now_us - child->asked_us < wait_us;
    if (asked || sim->undo_asked[child->no] || sim->saga[child->no].status == SB_SAGA_COMPENSATING)
        return;
    child->asked_us = sim->now_us;
    child->asking_us = child->asking_us ? child->asking_us : sim->now_us;
    if (!chance(sim, sim->broken_rate))
        sim->undo_asked[child->no] = true;
}

static void look_at_child(sim_t *sim, orchestrator_t *o, int no, bool undo)
{
    child_t *child = &o->child[no];
    const stored_saga_t *stored = &sim->saga[child->no];
    bool forward = child->direction == SB_FORWARD, completed = stored->status == SB_SAGA_COMPLETED;
    bool ended = completed || stored->status == SB_SAGA_COMPENSATED;
    bool taken_for_done = forward ? sim->bug == SIM_CHILD_NOT_AWAITED : sim->bug == SIM_CHILD_KEPT;
    if (!stored->there) /* a bug put in took it for committed */
        return;
    if (taken_for_done || (ended && completed == forward))
        answer_parent(o, no, SB_OUTCOME_SUCCESS);
    else if (ended && forward)
        answer_parent(o, no, SB_OUTCOME_FAILURE);
    else if (undo)
        ask_undo(sim, child);
    if (child->stage != NO_CHILD && sim->now_us - child->said_us > PENDING_US) {
        child->said_us = sim->now_us;
        answer_parent(o, no, SB_OUTCOME_PENDING);
    }
}

static void tend_children(sim_t *sim, orchestrator_t *o)
{
    for (int no = 0; no < o->next; no++) {
        const open_saga_t *saga = &o->saga[no];
        child_t *child = &o->child[no];
        if (child->stage == NO_CHILD || child->look_us > sim->now_us || !saga->known)
            continue;
        const sb_step_state_t *st = &saga->state.step[child->step];
        bool undo = saga->state.status == SB_SAGA_COMPENSATING;
        child->look_us = sim->now_us + LOOK_US;
        if (st->round != child->round ||
            st->status != (child->direction == SB_FORWARD ? SB_STEP_DISPATCHED : SB_STEP_COMPENSATING))
            child->stage = NO_CHILD;
        else if (child->stage == TO_START)
            start_child(sim, o, no, undo);
        else if (child->stage == FOLLOWED)
            look_at_child(sim, o, no, undo);
    }
}

static void read_undos(const sim_t *sim, orchestrator_t *o)
{
    for (int no = 0; no < o->next && o->inbox_count == 0; no++) {
        item_t item = {.kind = ITEM_UNDO, .no = no, .offset = -1};
        if (sim->undo_asked[no])
            (void)add_item(o, &item);
    }
}

/* ---- what comes of a commit ---- */

/* Forgets what it knows, as after any trouble with the database. */
static void step_down(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    o->epoch = 0;
    o->inbox_count = 0;
    o->commit = NULL;
    memset(o->saga, 0, sizeof o->saga);
    memset(o->child, 0, sizeof o->child);
    if (sim->lease_owner == number)
        sim->lease_owner = -1; /* its connection is gone, and the lock with it */
}

static void settle(sim_t *sim, const commit_t *commit)
{
    orchestrator_t *o = &sim->orchestrator[commit->orchestrator];
    o->cursor = commit->cursor;
    o->next = commit->next;
    for (int no = 0; no < SAGAS_MAX; no++) {
        open_saga_t *saga = &o->saga[no];
        if (!saga->touched)
            continue;
        saga->touched = false;
        saga->state = saga->next;
        saga->known = true;
        saga->fresh = false;
        set_timer(sim, commit->orchestrator, no, wake_of(sim, saga));
        look_at_family(sim, o, no);
    }
    for (int i = 0; i < commit->items; i++)
        if (commit->item[i].kind == ITEM_START && commit->lost_start[i])
            o->saga[commit->item_no[i]] = (open_saga_t){.known = false};
    for (int i = 0; i < commit->items; i++)
        if (commit->item[i].kind == ITEM_START && commit->item[i].key == CHILD_KEY)
            follow_child(sim, o, commit, i);
        else if (commit->item[i].kind == ITEM_START)
            answer_start(sim, commit, i);
    for (int i = 0; i < commit->orders; i++)
        if (o->saga[commit->order[i].letter.no].known &&
            (sim->bug != SIM_SEND_BEFORE_COMMIT || is_for_child(sim, &commit->order[i].letter)))
            send(sim, o, &commit->order[i].letter);
}

static void on_answer(sim_t *sim, int which, answer_t answer)
{
    commit_t *commit = &sim->commit[which];
    orchestrator_t *o = &sim->orchestrator[commit->orchestrator];
    bool mine = o->alive && o->generation == commit->generation && o->commit == commit;
    if (commit->arrived)
        commit->in_use = false;
    if (!mine)
        return;
    o->commit = NULL;
    if (answer == ANSWER_NONE && sim->bug == SIM_UNKNOWN_IS_DONE)
        answer = ANSWER_DONE;
    if (answer == ANSWER_DONE)
        settle(sim, commit);
    else
        step_down(sim, commit->orchestrator);
}

/* ---- leases ---- */

static void try_to_take(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    bool overdue = sim->now_us - sim->beat_us > OVERDUE_US;
    if (o->taking || (sim->lease_owner >= 0 && !overdue))
        return;
    sim->lease_epoch++;
    sim->lease_owner = number;
    sim->beat_us = sim->now_us;
    note(sim, SIM_N_TAKEOVER);
    o->taking = true;
    at_orchestrator(sim, between(sim, MS, 20 * MS), DO_TAKEN, number, o->generation, sim->lease_epoch);
}

static void fold(sim_t *sim, int number, int no)
{
    const stored_saga_t *stored = &sim->saga[no];
    open_saga_t *saga = &sim->orchestrator[number].saga[no];
    *saga = (open_saga_t){.known = true, .key = stored->key, .salt = stored->salt, .parent = stored->parent};
    sb_saga_state_init(&saga->state);
    for (int i = 0; i < stored->count; i++) {
        const stored_event_t *at = &stored->event[i];
        sb_saga_event_t event;
        if (sb_saga_event_read(definition_of(sim, stored->key), sb_slice(sb_saga_event_type(at->kind)),
                               at->at_us, sb_slice(at->body), &sim->scratch, &event, NULL) != SB_OK ||
            sb_machine_evolve(definition_of(sim, stored->key), &saga->state, &event, NULL) != SB_OK) {
            saga->known = false; /* stuck: it stays open, and is found */
            return;
        }
    }
}

static void open_again(sim_t *sim, int number, int no)
{
    open_saga_t *saga = &sim->orchestrator[number].saga[no];
    sb_saga_state_t fresh;
    sb_decision_t decision;
    if (!saga->known || sb_saga_is_over(&saga->state) || sim->bug == SIM_FORGETFUL_TAKEOVER)
        return;
    sb_machine_open(definition_of(sim, saga->key), &saga->state, sim->now_us, &decision, &fresh);
    saga->state = fresh;
    set_timer(sim, number, no, decision.wake_us);
    for (int i = 0; i < decision.order_count; i++) {
        const sb_saga_order_t *order = &decision.order[i];
        letter_t letter = {.no = no,
                           .salt = saga->salt,
                           .step = order->step,
                           .direction = order->direction,
                           .round = order->round,
                           .attempt = order->attempt,
                           .forward_unknown = order->forward_unknown};
        send(sim, &sim->orchestrator[number], &letter);
    }
}

static void on_taken(sim_t *sim, int number, int generation, int64_t epoch)
{
    orchestrator_t *o = &sim->orchestrator[number];
    o->taking = false;
    if (!o->alive || o->generation != generation || epoch != sim->lease_epoch)
        return; /* it died, or was overtaken, while it took it */
    step_down(sim, number);
    sim->lease_owner = number;
    o->epoch = epoch;
    o->cursor = o->read_to = sim->lease_cursor;
    o->next = sim->lease_next;
    for (int no = 0; no < SAGAS_MAX; no++) {
        if (!sim->saga[no].there)
            continue;
        fold(sim, number, no);
        open_again(sim, number, no);
    }
}

/* ---- an orchestrator's life ---- */

static void on_tick(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    at_orchestrator(sim, o->epoch ? 5 * MS : TICK_US, DO_TICK, number, 0, 0);
    if (!o->alive)
        return;
    if (!o->epoch) {
        try_to_take(sim, number);
        return;
    }
    if (o->commit)
        return;
    read_replies(sim, o);
    read_undos(sim, o);
    tend_children(sim, o);
    if (o->inbox_count > 0 || sim->now_us - sim->beat_us > OVERDUE_US / 3)
        begin_batch(sim, number);
}

static void on_timer(sim_t *sim, int number, int no, int64_t wake_us)
{
    orchestrator_t *o = &sim->orchestrator[number];
    const open_saga_t *saga = &o->saga[no];
    item_t item = {.kind = ITEM_TIMER, .no = no, .offset = -1};
    if (!o->alive || !o->epoch || !saga->known || sb_saga_is_over(&saga->state))
        return;
    if (saga->touched || o->commit) { /* later: it may be another one then */
        at_orchestrator(sim, 5 * MS, DO_TIMER, number, no, wake_us);
        return;
    }
    if (wake_of(sim, saga) == wake_us)
        (void)add_item(o, &item);
}

static void on_crash(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    at_orchestrator(sim, between(sim, 500 * MS, sim->calm_us), DO_CRASH, number, 0, 0);
    if (!o->alive || !faulty(sim))
        return;
    note(sim, SIM_N_CRASH);
    o->alive = o->taking = false;
    o->generation++;
    step_down(sim, number);
    at_orchestrator(sim, between(sim, 50 * MS, 2000 * MS), DO_RESTART, number, 0, 0);
}

/* A pause holds back all that would happen at it. */
static void on_pause(sim_t *sim, int number)
{
    orchestrator_t *o = &sim->orchestrator[number];
    at_orchestrator(sim, between(sim, 1000 * MS, sim->calm_us), DO_PAUSE, number, 0, 0);
    if (!o->alive || !faulty(sim))
        return;
    note(sim, SIM_N_PAUSE);
    o->paused_until = sim->now_us + between(sim, 10 * MS, 3000 * MS);
}

static int orchestrator_of(const sim_t *sim, const happening_t *h)
{
    switch (h->what) {
    case DO_TICK:
    case DO_TIMER:
    case DO_TAKEN:
        return h->a;
    case DO_ANSWER:
        return sim->commit[h->a].orchestrator;
    default:
        return -1;
    }
}

/* ---- the rest of the clients ---- */

static void on_cancel(sim_t *sim, int key)
{
    int no = number_of_key(sim, key);
    item_t item = {.kind = ITEM_CANCEL, .no = no, .offset = -1};
    tell(sim, key, CHAOS_CANCEL, CHAOS_INVOKED, 0, -1, 0);
    if (no >= 0 && sim->lease_owner >= 0 && sim->orchestrator[sim->lease_owner].epoch == sim->lease_epoch)
        (void)add_item(&sim->orchestrator[sim->lease_owner], &item);
}

static void on_look(sim_t *sim, int key)
{
    int no = number_of_key(sim, key);
    if (no >= 0)
        tell(sim, key, CHAOS_LOOK, CHAOS_OK, 200, no, sim->saga[no].status);
    if (sim->now_us < GIVE_UP_US)
        at_orchestrator(sim, between(sim, 500 * MS, 4000 * MS), DO_LOOK, key, 0, 0);
}

static void happen(sim_t *sim, const happening_t *h)
{
    trace(sim, (uint64_t)h->at_us);
    trace(sim, (uint64_t)h->what << 56 | (uint64_t)(uint32_t)h->a << 24 | (uint32_t)h->b);
    trace(sim, h->letter.salt ^ (uint64_t)h->letter.step << 40 ^ (uint64_t)h->letter.outcome << 50);
    switch (h->what) {
    case DO_TICK:
        on_tick(sim, h->a);
        break;
    case DO_TIMER:
        on_timer(sim, h->a, h->b, h->c);
        break;
    case DO_TAKEN:
        on_taken(sim, h->a, h->b, h->c);
        break;
    case DO_ARRIVE:
        on_arrive(sim, h->a, h->b != 0);
        break;
    case DO_ANSWER:
        on_answer(sim, h->a, (answer_t)h->b);
        break;
    case DO_CRASH:
        on_crash(sim, h->a);
        break;
    case DO_RESTART:
        sim->orchestrator[h->a].alive = true;
        break;
    case DO_PAUSE:
        on_pause(sim, h->a);
        break;
    case DO_COMMAND:
        on_command(sim, &h->letter);
        break;
    case DO_REPLY:
        assert_true(sim->replies < REPLIES_MAX);
        sim->reply[sim->replies++] = h->letter;
        break;
    case DO_START:
        if (!sim->accepted[h->a] || h->b)
            on_start_asked(sim, h->a, h->b != 0);
        break;
    case DO_CANCEL:
        on_cancel(sim, h->a);
        break;
    case DO_LOOK:
        on_look(sim, h->a);
        break;
    }
}

/* ---- a run ---- */

static void load_definitions(sim_t *sim)
{
    for (int i = 0; i < TYPES; i++) {
        char path[512];
        sb_error_t err = SB_ERROR_INIT;
        (void)snprintf(path, sizeof path, "%s/tests/chaos/sagas/%s.json", SB_SOURCE_DIR,
                       i < CHAOS_TYPES ? chaos_type[i].name : type_name(CHILD_KEY));
        json_t *body = json_load_file(path, 0, NULL);
        assert_non_null(body);
        assert_ok(sb_definition_compile(&sim->definition[i], body, &err), &err);
        json_decref(body);
        sim->given[i] = *sim->definition[i];
        for (int s = 0; s < sim->given[i].step_count && sim->bug == SIM_NO_PIVOT; s++) {
            sim->given[i].step[s].pivot = sim->given[i].step[s].forward_only = false;
            sim->given[i].step[s].retry.attempts_max = 3;
        }
    }
}

/* Runs that are bad in one way only find what runs that are bad in all ways hide. */
static void choose_rates(sim_t *sim)
{
    static const int rates[] = {0, 20, 80, 250};
    static const int64_t calms[] = {4000 * MS, 15000 * MS, 60000 * MS};
    sim->lost_rate = rates[draw(sim) % 4];
    sim->late_rate = rates[draw(sim) % 4];
    sim->twice_rate = rates[draw(sim) % 4];
    sim->broken_rate = rates[draw(sim) % 3];
    sim->calm_us = calms[draw(sim) % 3];
}

static void plan_clients(sim_t *sim)
{
    for (int key = 0; key < KEYS; key++) {
        int64_t at = between(sim, 0, 9000 * MS);
        at_orchestrator(sim, at, DO_START, key, 0, 0);
        at_orchestrator(sim, at + between(sim, 0, 5 * MS), DO_START, key, 0, 0); /* from a second place */
        at_orchestrator(sim, at + 1000 * MS, DO_LOOK, key, 0, 0);
        if (draw(sim) % 4 == 0)
            at_orchestrator(sim, at + between(sim, 0, 4000 * MS), DO_CANCEL, key, 0, 0);
        if (draw(sim) % 4 == 0)
            at_orchestrator(sim, at + between(sim, 2000 * MS, 5000 * MS), DO_START, key, 1, 0);
    }
}

static bool all_ended(const sim_t *sim)
{
    for (int key = 0; key < KEYS; key++)
        if (!sim->accepted[key])
            return false;
    for (int no = 0; no < SAGAS_MAX; no++)
        if (sim->saga[no].there && sim->saga[no].status != SB_SAGA_COMPLETED &&
            sim->saga[no].status != SB_SAGA_COMPENSATED)
            return false;
    return true;
}

static void fill_record(sim_t *sim)
{
    chaos_record_t *record = &sim->out->record;
    for (int no = 0; no < SAGAS_MAX; no++) {
        const stored_saga_t *stored = &sim->saga[no];
        if (!stored->there)
            continue;
        chaos_saga_t saga = {.status = stored->status, .no = no};
        name_id(saga.id, no, stored->salt);
        name_saga(saga.key, stored->key, &stored->parent);
        (void)snprintf(saga.type, sizeof saga.type, "%s", type_name(stored->key));
        if (stored->key == CHILD_KEY)
            name_id(saga.parent, stored->parent.no, stored->parent.salt);
        chaos_add_saga(record, &saga);
        for (int i = 0; i < stored->count; i++) {
            chaos_event_t event = {
                .no = no, .version = i + 1, .epoch = stored->event[i].epoch, .seq = stored->event[i].seq};
            (void)snprintf(event.type, sizeof event.type, "%s", sb_saga_event_type(stored->event[i].kind));
            chaos_add_event(record, &event);
        }
    }
    for (int i = 0; i < CHAOS_SERVICES; i++) {
        chaos_books_t books = {
            .service = i, .opening = opening, .held = opening + sim->held[i], .logged = sim->logged[i]};
        chaos_add_books(record, &books);
    }
    chaos_give_effects_to_parents(record);
    record->settled = true;
}

static void run(sim_t *sim)
{
    while (sim->heap_count > 0 && sim->now_us < GIVE_UP_US) {
        happening_t h = next_happening(sim);
        sim->now_us = h.at_us;
        sim->out->events++;
        int number = orchestrator_of(sim, &h);
        if (number >= 0 && sim->now_us < sim->orchestrator[number].paused_until) {
            happening_t *held = later(sim, sim->orchestrator[number].paused_until - sim->now_us, h.what);
            held->a = h.a;
            held->b = h.b;
            held->c = h.c;
            continue;
        }
        happen(sim, &h);
        if (!faulty(sim) && h.what == DO_LOOK && all_ended(sim)) {
            sim->out->ended_us = sim->now_us - FAULTS_END_US;
            if (sim->now_us > FAULTS_END_US + 10000 * MS) /* what is late comes before the end */
                break;
        }
    }
}

void simulate(uint64_t seed, sim_bug_t bug, sim_result_t *out)
{
    sim_t *sim = calloc(1, sizeof *sim);
    assert_non_null(sim);
    *out = (sim_result_t){.trace = UINT64_C(14695981039346656037), .ended_us = -1};
    sim->bug = bug;
    sim->out = out;
    sim->random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim->lease_owner = -1;
    sim->beat_us = -2 * OVERDUE_US;
    load_definitions(sim);
    choose_rates(sim);
    plan_clients(sim);
    for (int i = 0; i < ORCHESTRATORS; i++) {
        sim->orchestrator[i].alive = true;
        at_orchestrator(sim, between(sim, 0, TICK_US), DO_TICK, i, 0, 0);
        at_orchestrator(sim, between(sim, 500 * MS, sim->calm_us), DO_CRASH, i, 0, 0);
        at_orchestrator(sim, between(sim, 1000 * MS, sim->calm_us), DO_PAUSE, i, 0, 0);
    }
    run(sim);
    fill_record(sim);
    for (int i = 0; i < TYPES; i++)
        sb_definition_free(&sim->definition[i]);
    sb_buf_fini(&sim->text);
    sb_buf_fini(&sim->scratch);
    free(sim->heap);
    free(sim);
}

/* ---- names ---- */

const char *sim_bug_text(sim_bug_t bug)
{
    static const char *const texts[] = {
#define SIM_ROW(name, text, breach) text,
        SIM_BUG_MAP(SIM_ROW)
#undef SIM_ROW
    };
    return texts[bug];
}

chaos_breach_t sim_bug_breach(sim_bug_t bug)
{
    static const chaos_breach_t breaches[] = {
#define SIM_ROW(name, text, breach) CHAOS_##breach,
        SIM_BUG_MAP(SIM_ROW)
#undef SIM_ROW
    };
    return breaches[bug];
}

const char *sim_count_text(sim_count_t count)
{
    static const char *const texts[] = {
#define SIM_ROW(name, text) text,
        SIM_COUNT_MAP(SIM_ROW)
#undef SIM_ROW
    };
    return texts[count];
}
