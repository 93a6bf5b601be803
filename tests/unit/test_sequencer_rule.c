/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/sequencer_rule.h"
#include "tests/support/assert.h"

#include <stdlib.h>
#include <string.h>

static int64_t tick(sb_sequencer_rule_t *rule, int64_t drawn, int count, ...)
{
    sb_holder_t holders[8] = {{0}};
    sb_error_t err = SB_ERROR_INIT;
    va_list args;
    va_start(args, count);
    for (int i = 0; i < count; i++)
        holders[i].transaction = (uint64_t)va_arg(args, int);
    va_end(args);
    assert_ok(sb_rule_tick(rule, drawn, holders, count, &err), &err);
    return rule->safe;
}

static void nobody_holds_it_back(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 10);
    assert_int_equal(tick(&rule, 15, 0), 15);
    assert_int_equal(tick(&rule, 15, 0), 15);
    assert_int_equal(tick(&rule, 90, 0), 90);
    sb_rule_fini(&rule);
}

static void a_holder_keeps_what_was_drawn_before_it_came(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 10);
    assert_int_equal(tick(&rule, 15, 1, 1), 10); /* may have drawn 11 */
    assert_int_equal(tick(&rule, 20, 1, 1), 10);
    assert_int_equal(tick(&rule, 25, 2, 1, 2), 10);
    assert_int_equal(sb_rule_blocker(&rule)->transaction, 1);
    assert_int_equal(tick(&rule, 30, 1, 2), 20); /* 2 came after 20 had been read */
    assert_int_equal(tick(&rule, 31, 2, 2, 3), 20);
    assert_int_equal(tick(&rule, 32, 1, 3), 30);
    assert_int_equal(tick(&rule, 32, 0), 32);
    assert_null(sb_rule_blocker(&rule));
    sb_rule_fini(&rule);
}

static void a_number_that_is_used_again_is_another_holder(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 0);
    assert_int_equal(tick(&rule, 5, 1, 1), 0);
    assert_int_equal(tick(&rule, 6, 0), 6);
    assert_int_equal(tick(&rule, 9, 1, 1), 6);
    sb_rule_fini(&rule);
}

static void a_rest_forgets_nobody_who_matters(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 7);
    sb_rule_rest(&rule, 7);
    assert_int_equal(tick(&rule, 9, 1, 1), 7);
    assert_int_equal(tick(&rule, 9, 0), 9);
    sb_rule_fini(&rule);
}

static void a_restart_begins_at_what_was_persisted(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 0);
    assert_int_equal(tick(&rule, 50, 1, 1), 0);
    assert_int_equal(tick(&rule, 60, 2, 1, 2), 0);
    sb_rule_start(&rule, 0);
    assert_int_equal(tick(&rule, 70, 1, 2), 0); /* what was known of 2 (above 50) is not known any more */
    sb_rule_fini(&rule);
}

static void locks_are_read_as_postgres_writes_them(void **state)
{
    (void)state;
    uint64_t a = 0;
    uint64_t b = 0;
    assert_true(sb_holder_parse("3/1234", &a));
    assert_true(sb_holder_parse("4/1234", &b));
    assert_true(a != b);
    assert_true(sb_holder_parse("-1/771", &b)); /* a prepared transaction after a restart */
    assert_true(sb_holder_parse("3/4294967295", &b));
    assert_false(sb_holder_parse("", &b));
    assert_false(sb_holder_parse("x/y", &b));
}

/* The same numbers in each run. */
static unsigned random_state;

static int random_number(void)
{
    return rand_r(&random_state);
}

/* ---- a small world: transactions lock, draw, commit; the rule is fed between any two steps ---- */

#define ACTORS 5

typedef struct actor {
    int transaction;     /* 0: none */
    int64_t first, last; /* what it has drawn */
} actor_t;

static void nothing_appears_below_safe_in_any_order(void **state)
{
    (void)state;
    random_state = 3;
    for (int round = 0; round < 300; round++) {
        sb_sequencer_rule_t rule;
        actor_t actors[ACTORS] = {{0}};
        int64_t drawn = 0;
        int64_t drawn_read = -1; /* what step (1) of a tick read, -1: not in a tick */
        int next = 1;
        sb_rule_init(&rule);
        sb_rule_start(&rule, 0);
        for (int step = 0; step < 400; step++) {
            actor_t *actor = &actors[random_number() % ACTORS];
            int act = random_number() % 7;
            if (act == 0 && !actor->transaction) {
                *actor = (actor_t){next++, 0, 0};
            } else if (act <= 2 && actor->transaction) {
                actor->last = ++drawn;
                actor->first = actor->first ? actor->first : drawn;
            } else if (act == 3 && actor->transaction) {
                if (actor->first) /* its events become visible now */
                    assert_true(actor->first > rule.safe);
                *actor = (actor_t){0, 0, 0};
            } else if (act == 4 && drawn_read < 0) {
                drawn_read = drawn;
                if (drawn_read == rule.safe) {
                    sb_rule_rest(&rule, drawn_read);
                    drawn_read = -1;
                }
            } else if (act == 5 && drawn_read >= 0) {
                sb_holder_t holders[ACTORS];
                int count = 0;
                for (int i = 0; i < ACTORS; i++)
                    if (actors[i].transaction)
                        holders[count++] = (sb_holder_t){(uint64_t)actors[i].transaction, 1, 0};
                assert_int_equal(sb_rule_tick(&rule, drawn_read, holders, count, NULL), SB_OK);
                drawn_read = -1;
            } else if (act == 6 && random_number() % 20 == 0) {
                sb_rule_start(&rule, rule.safe); /* a takeover */
                drawn_read = -1;
            }
        }
        sb_rule_fini(&rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_holds_it_back),
        cmocka_unit_test(a_holder_keeps_what_was_drawn_before_it_came),
        cmocka_unit_test(a_number_that_is_used_again_is_another_holder),
        cmocka_unit_test(a_rest_forgets_nobody_who_matters),
        cmocka_unit_test(a_restart_begins_at_what_was_persisted),
        cmocka_unit_test(locks_are_read_as_postgres_writes_them),
        cmocka_unit_test(nothing_appears_below_safe_in_any_order),
    };
    return cmocka_run_group_tests_name("sequencer_rule", tests, NULL, NULL);
}
