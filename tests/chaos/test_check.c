/* The checker of the chaos test is shown a true record, which it must pass, and the same record made false in
 * one way, which it must name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/machine.h"
#include "tests/chaos/check.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <string.h>

/* ---- a true record: one completed and one compensated saga of each type ---- */

static const char *const story_completed[] = {"saga.started", "saga.step.completed", "saga.completed", NULL};
static const char *const story_compensated[] = {"saga.started",      "saga.step.failed",
                                                "saga.compensating", "saga.step.compensated",
                                                "saga.compensated",  NULL};

static void tell(chaos_record_t *record, const chaos_saga_t *saga, chaos_op_t op, chaos_verdict_t verdict,
                 int http, const char *status)
{
    chaos_call_t call = {.at_ms = (int64_t)record->calls, .op = op, .verdict = verdict, .http = http};
    (void)snprintf(call.key, sizeof call.key, "%s", saga->key);
    (void)snprintf(call.id, sizeof call.id, "%s", saga->id);
    (void)snprintf(call.status, sizeof call.status, "%s", status);
    chaos_add_call(record, &call);
}

static void add_effect(chaos_record_t *record, const chaos_saga_t *saga, const chaos_step_t *step,
                       bool compensate, int64_t at_us)
{
    static const int64_t deltas[CHAOS_SERVICES] = {-10, 10, -1, 0};
    chaos_effect_t effect = {.service = step->service,
                             .compensate = compensate,
                             .at_us = at_us,
                             .delta = deltas[step->service] * (compensate ? -1 : 1)};
    if (strcmp(step->name, "hold") == 0)
        effect.delta = 0; /* it stays in the wallet */
    (void)snprintf(effect.id, sizeof effect.id, "%s", saga->id);
    (void)snprintf(effect.step, sizeof effect.step, "%s", step->name);
    chaos_add_effect(record, &effect);
}

static void add_saga(chaos_record_t *record, int number, const chaos_type_t *type, bool completed)
{
    chaos_saga_t saga = {.no = number, .status = completed ? SB_SAGA_COMPLETED : SB_SAGA_COMPENSATED};
    (void)snprintf(saga.id, sizeof saga.id, "00000000-0000-0000-0000-%012d", number);
    (void)snprintf(saga.key, sizeof saga.key, "%s-%d", type->name, number);
    (void)snprintf(saga.type, sizeof saga.type, "%s", type->name);
    chaos_add_saga(record, &saga);
    tell(record, &saga, CHAOS_START, CHAOS_INVOKED, 0, "");
    tell(record, &saga, CHAOS_START, CHAOS_UNKNOWN, 0, "");
    tell(record, &saga, CHAOS_START, CHAOS_OK, 200, "started");
    tell(record, &saga, CHAOS_OTHER_INPUT, CHAOS_REFUSED, 422, "");
    tell(record, &saga, CHAOS_LOOK, CHAOS_OK, 200, sb_saga_status_name((sb_saga_status_t)saga.status));
    int done = completed ? type->step_count : 2;
    for (int i = 0; i < done; i++)
        if (!type->step[i].no_effect)
            add_effect(record, &saga, &type->step[i], false, 1000 * number + i);
    for (int i = done; !completed && i-- > 0;)
        if (!type->step[i].no_effect)
            add_effect(record, &saga, &type->step[i], true, 1000 * number + 100 - i);
    const char *const *story = completed ? story_completed : story_compensated;
    for (int i = 0; story[i]; i++) {
        chaos_event_t event = {
            .no = number, .version = i + 1, .epoch = 1 + i / 2, .seq = 1000 * number + 100 + i};
        (void)snprintf(event.type, sizeof event.type, "%s", story[i]);
        chaos_add_event(record, &event);
    }
}

static const char *const story_undone[] = {"saga.started",
                                           "saga.step.completed",
                                           "saga.completed",
                                           "saga.compensating",
                                           "saga.step.compensated",
                                           "saga.compensated",
                                           NULL};

/* A step of another saga, undone after its end unless it stays completed. */
static void add_child(chaos_record_t *record, int number, int parent, bool completed)
{
    const char *const *story = completed ? story_completed : story_undone;
    chaos_saga_t saga = {.no = number, .status = completed ? SB_SAGA_COMPLETED : SB_SAGA_COMPENSATED};
    (void)snprintf(saga.id, sizeof saga.id, "00000000-0000-0000-0000-%012d", number);
    (void)snprintf(saga.parent, sizeof saga.parent, "00000000-0000-0000-0000-%012d", parent);
    (void)snprintf(saga.key, sizeof saga.key, "saga:%d", number);
    (void)snprintf(saga.type, sizeof saga.type, "payment");
    chaos_add_saga(record, &saga);
    for (int i = 0; story[i]; i++) {
        chaos_event_t event = {.no = number, .version = i + 1, .epoch = 1, .seq = 1000 * parent + i};
        (void)snprintf(event.type, sizeof event.type, "%s", story[i]);
        chaos_add_event(record, &event);
    }
}

static void add_books(chaos_record_t *record)
{
    for (int service = 0; service < CHAOS_SERVICES; service++) {
        chaos_books_t books = {.service = service, .opening = 1000};
        for (size_t i = 0; i < record->effects; i++)
            books.logged += record->effect[i].service == service ? record->effect[i].delta : 0;
        books.held = books.opening + books.logged;
        chaos_add_books(record, &books);
    }
}

static void fill(chaos_record_t *record)
{
    *record = (chaos_record_t){.settled = true};
    for (int i = 0; i < CHAOS_TYPES; i++) {
        add_saga(record, 2 * i + 1, &chaos_type[i], true);
        add_saga(record, 2 * i + 2, &chaos_type[i], false);
    }
    add_child(record, 101, 2 * CHAOS_TYPES - 1, true);
    add_child(record, 102, 2 * CHAOS_TYPES, false);
    add_books(record);
}

static void a_true_record_passes(void **state)
{
    chaos_record_t record;
    chaos_findings_t findings;
    (void)state;
    fill(&record);
    chaos_check(&record, &findings);
    for (int i = 0; i < CHAOS_BREACHES; i++)
        if (findings.count[i])
            fail_msg("%s: %s", chaos_breach_name((chaos_breach_t)i), findings.first[i]);
    assert_int_equal(findings.completed, CHAOS_TYPES);
    assert_int_equal(findings.compensated, CHAOS_TYPES);
    assert_int_equal(findings.refused_other, 2 * CHAOS_TYPES);
    chaos_record_free(&record);
}

/* ---- false ones ---- */

static chaos_effect_t *effect_of(chaos_record_t *record, int number, const char *step, bool compensate)
{
    char id[CHAOS_ID_MAX];
    (void)snprintf(id, sizeof id, "00000000-0000-0000-0000-%012d", number);
    for (size_t i = 0; i < record->effects; i++) {
        chaos_effect_t *effect = &record->effect[i];
        if (strcmp(effect->id, id) == 0 && strcmp(effect->step, step) == 0 &&
            effect->compensate == compensate)
            return effect;
    }
    fail_msg("saga %d has no effect of %s", number, step);
    return NULL;
}

static chaos_call_t *call_of(chaos_record_t *record, const char *key, chaos_op_t op, chaos_verdict_t verdict)
{
    for (size_t i = 0; i < record->calls; i++)
        if (strcmp(record->call[i].key, key) == 0 && record->call[i].op == op &&
            record->call[i].verdict == verdict)
            return &record->call[i];
    fail_msg("no such call of %s", key);
    return NULL;
}

static chaos_event_t *event_of(chaos_record_t *record, int number, int version)
{
    for (size_t i = 0; i < record->events; i++)
        if (record->event[i].no == number && record->event[i].version == version)
            return &record->event[i];
    fail_msg("saga %d has no event %d", number, version);
    return NULL;
}

static void drop_effect(chaos_record_t *record, chaos_effect_t *effect)
{
    *effect = record->effect[--record->effects];
}

static void copy_effect(chaos_record_t *record, int number, const char *step, bool compensate, int later_us)
{
    chaos_effect_t copy = *effect_of(record, number, step, compensate);
    copy.at_us += later_us;
    chaos_add_effect(record, &copy);
}

static void lose_a_saga(chaos_record_t *r)
{
    r->saga[0] = r->saga[--r->sagas];
}
static void make_money(chaos_record_t *r)
{
    r->books[0].held += 1;
}
static void
move_money_nowhere(chaos_record_t *r) /* the log says so too: only both wallets together show it */
{
    r->books[0].held -= 5;
    r->books[0].logged -= 5;
}
static void lose_stock(chaos_record_t *r)
{
    r->books[2].held -= 1;
    r->books[2].logged -= 1;
}
static void change_the_id(chaos_record_t *r)
{
    r->saga[2].id[0] = 'f';
}
static void forget_the_request(chaos_record_t *r)
{
    for (size_t i = 0; i < r->calls; i++)
        (void)snprintf(r->call[i].key, sizeof r->call[i].key, "other");
}
static void leave_an_effect_of_nobody(chaos_record_t *r)
{
    copy_effect(r, 1, "hold", false, 0);
    r->effect[r->effects - 1].id[0] = 'f';
}
static void do_twice(chaos_record_t *r)
{
    copy_effect(r, 3, "charge", false, 0);
}
static void undo_twice(chaos_record_t *r)
{
    copy_effect(r, 4, "charge", true, 1);
}
static void forget_a_step(chaos_record_t *r)
{
    drop_effect(r, effect_of(r, 3, "book", false));
}
static void forget_an_undo(chaos_record_t *r)
{
    drop_effect(r, effect_of(r, 4, "charge", true));
}
static void undo_a_completed_one(chaos_record_t *r)
{
    copy_effect(r, 3, "book", false, 5);
    r->effect[r->effects - 1].compensate = true;
}
static void undo_nothing(chaos_record_t *r)
{
    drop_effect(r, effect_of(r, 4, "charge", false));
}
static void do_after_the_undo(chaos_record_t *r)
{
    effect_of(r, 4, "charge", false)->at_us += 500;
}
static void undo_past_the_pivot(chaos_record_t *r)
{
    copy_effect(r, 1, "announce", false, 50);
    r->effect[r->effects - 1].compensate = true;
}
static void turn_back_past_the_pivot(chaos_record_t *r)
{
    r->saga[0].status = SB_SAGA_COMPENSATED;
}
static void undo_oldest_first(chaos_record_t *r)
{
    effect_of(r, 4, "reserve", true)->at_us -= 50;
}
static void go_ahead_of_a_step(chaos_record_t *r)
{
    effect_of(r, 3, "book", false)->at_us -= 3;
}
static void answer_another_id(chaos_record_t *r)
{
    chaos_call_t other = *call_of(r, "transfer-1", CHAOS_START, CHAOS_OK);
    other.id[0] = 'f';
    chaos_add_call(r, &other);
}
static void take_another_input(chaos_record_t *r)
{
    call_of(r, "transfer-1", CHAOS_OTHER_INPUT, CHAOS_REFUSED)->verdict = CHAOS_OK;
}
static void show_two_ends(chaos_record_t *r)
{
    chaos_call_t other = *call_of(r, "transfer-1", CHAOS_LOOK, CHAOS_OK);
    (void)snprintf(other.status, sizeof other.status, "compensated");
    chaos_add_call(r, &other);
}
static void end_twice(chaos_record_t *r)
{
    chaos_event_t more = {.no = 1, .version = 4, .epoch = 2, .type = "saga.compensated"};
    chaos_add_event(r, &more);
}
static void go_on_after_the_end(chaos_record_t *r)
{
    chaos_event_t more = {.no = 1, .version = 4, .epoch = 2, .type = "saga.step.completed"};
    chaos_add_event(r, &more);
}
static void write_with_an_old_epoch(chaos_record_t *r)
{
    event_of(r, 2, 4)->epoch = 1;
}
static void write_without_the_lease(chaos_record_t *r)
{
    event_of(r, 2, 3)->epoch = 0;
}
static void leave_a_hole(chaos_record_t *r)
{
    event_of(r, 2, 5)->version = 6;
}
static void leave_one_open(chaos_record_t *r)
{
    (void)snprintf(event_of(r, 2, 5)->type, 32, "saga.step.retried");
}

static void undo_after_the_end(chaos_record_t *r)
{
    chaos_event_t more = {.no = 1, .version = 4, .epoch = 2, .type = "saga.compensating"};
    chaos_add_event(r, &more);
}
static chaos_saga_t *child_of(chaos_record_t *r, int number)
{
    for (size_t i = 0; i < r->sagas; i++)
        if (r->saga[i].no == number)
            return &r->saga[i];
    fail_msg("no saga %d", number);
    return r->saga; /* not reached */
}
static void orphan_a_child(chaos_record_t *r)
{
    child_of(r, 101)->parent[0] = 'f';
}
static void swap_children(chaos_record_t *r)
{
    chaos_saga_t *one = child_of(r, 101), *other = child_of(r, 102), kept = *one;
    memcpy(one->parent, other->parent, sizeof one->parent);
    memcpy(other->parent, kept.parent, sizeof other->parent);
}
static void end_a_child_twice(chaos_record_t *r)
{
    chaos_event_t more = {.no = 102, .version = 7, .epoch = 1, .type = "saga.compensated"};
    chaos_add_event(r, &more);
}

static void end_before_a_child(chaos_record_t *r)
{
    event_of(r, 101, 3)->seq = event_of(r, 2 * CHAOS_TYPES - 1, 3)->seq + 1;
}
static void start_a_child_twice(chaos_record_t *r)
{
    add_child(r, 103, 2 * CHAOS_TYPES - 1, true);
}

static const struct {
    const char *name;
    void (*seed)(chaos_record_t *record);
    chaos_breach_t breach;
} lies[] = {
    {"an accepted saga is not there", lose_a_saga, CHAOS_LOST},
    {"an accepted saga is there under another id", change_the_id, CHAOS_LOST},
    {"a wallet holds what no effect brought", make_money, CHAOS_MONEY},
    {"money went from one wallet and came to none", move_money_nowhere, CHAOS_MONEY},
    {"stock went that no saga took", lose_stock, CHAOS_MONEY},
    {"a saga that nobody asked for", forget_the_request, CHAOS_PHANTOM},
    {"an effect of no saga", leave_an_effect_of_nobody, CHAOS_PHANTOM},
    {"a step done twice", do_twice, CHAOS_TWICE},
    {"a step undone twice", undo_twice, CHAOS_TWICE},
    {"completed without a step", forget_a_step, CHAOS_HALF},
    {"compensated without an undo", forget_an_undo, CHAOS_HALF},
    {"completed with an undo", undo_a_completed_one, CHAOS_HALF},
    {"an undo of what was never done", undo_nothing, CHAOS_HANGING},
    {"done after its undo", do_after_the_undo, CHAOS_HANGING},
    {"undone past the pivot", undo_past_the_pivot, CHAOS_PIVOT},
    {"turned back past the pivot", turn_back_past_the_pivot, CHAOS_PIVOT},
    {"the oldest undone first", undo_oldest_first, CHAOS_ORDER},
    {"a step done before the one it waits for", go_ahead_of_a_step, CHAOS_ORDER},
    {"one key, two sagas", answer_another_id, CHAOS_KEY},
    {"another input under a known key taken", take_another_input, CHAOS_KEY},
    {"seen completed, then compensated", show_two_ends, CHAOS_END},
    {"two ends in one stream", end_twice, CHAOS_END},
    {"a step after the end", go_on_after_the_end, CHAOS_END},
    {"undone after its end, and nobody's step", undo_after_the_end, CHAOS_END},
    {"a step of another, with two ends", end_a_child_twice, CHAOS_END},
    {"a step of a saga that is not there", orphan_a_child, CHAOS_PHANTOM},
    {"completed with a step that was undone", swap_children, CHAOS_HALF},
    {"an event of an epoch that was over", write_with_an_old_epoch, CHAOS_FENCE},
    {"an event without the lease", write_without_the_lease, CHAOS_FENCE},
    {"a hole in the versions", leave_a_hole, CHAOS_FENCE},
    {"still open when all is back", leave_one_open, CHAOS_OPEN},
    {"ended before a saga that is its step", end_before_a_child, CHAOS_CHILD},
    {"a step that is a saga started twice", start_a_child_twice, CHAOS_CHILD},
};

static void each_false_record_is_named(void **state)
{
    bool seeded[CHAOS_BREACHES] = {false};
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        chaos_record_t record;
        chaos_findings_t findings;
        fill(&record);
        lies[i].seed(&record);
        chaos_check(&record, &findings);
        if (findings.count[lies[i].breach] == 0)
            fail_msg("%s: not found as a breach of %s", lies[i].name, chaos_breach_name(lies[i].breach));
        seeded[lies[i].breach] = true;
        chaos_record_free(&record);
    }
    for (int i = 0; i < CHAOS_BREACHES; i++)
        if (!seeded[i])
            fail_msg("no false record breaks %s", chaos_breach_name((chaos_breach_t)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_record_passes),
        cmocka_unit_test(each_false_record_is_named),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
