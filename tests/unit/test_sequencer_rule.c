/* SPDX-License-Identifier: Apache-2.0 */
#include "events/progress.h"
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

static void a_run_waits_for_nobody_who_came_later(void **state)
{
    (void)state;
    sb_sequencer_rule_t rule;
    sb_rule_init(&rule);
    sb_rule_start(&rule, 10);
    assert_int_equal(tick(&rule, 12, 2, 1, 2), 10);
    sb_rule_run(&rule, 11); /* the event of 1 is there, that of 2 is not */
    assert_int_equal(rule.safe, 11);
    sb_rule_run(&rule, 10);
    assert_int_equal(rule.safe, 11);
    assert_int_equal(tick(&rule, 13, 1, 2), 11); /* 2 may have drawn 12 */
    assert_int_equal(tick(&rule, 14, 1, 3), 13);
    sb_rule_fini(&rule);
}

/* ---- a small world: transactions lock, draw, commit; the rule is fed between any two steps ---- */

#define ACTORS    5
#define STEPS     400
#define DRAWN_MAX (STEPS + 2)

typedef struct actor {
    int transaction; /* 0: none */
} actor_t;

typedef struct world {
    sb_sequencer_rule_t rule;
    actor_t actors[ACTORS];
    int64_t drawn, drawn_read; /* drawn_read: by step (1) of a look; -1: not in a look */
    int by[DRAWN_MAX];         /* of each number: the transaction that drew it */
    bool there[DRAWN_MAX];     /* its event is */
    int next;
} world_t;

static void end_transaction(world_t *w, actor_t *actor, bool commit)
{
    for (int64_t n = 1; commit && n <= w->drawn; n++)
        if (w->by[n] == actor->transaction) {
            assert_true(n > w->rule.safe); /* it appears now */
            w->there[n] = true;
        }
    actor->transaction = 0;
}

static void follow_run(world_t *w)
{
    int64_t run = w->rule.safe;
    while (w->there[run + 1])
        run++;
    sb_rule_run(&w->rule, run);
}

static void begin_look(world_t *w)
{
    w->drawn_read = w->drawn;
    if (w->drawn_read == w->rule.safe) {
        sb_rule_rest(&w->rule, w->drawn_read);
        w->drawn_read = -1;
    }
}

static void end_look(world_t *w)
{
    sb_holder_t holders[ACTORS];
    int count = 0;
    for (int i = 0; i < ACTORS; i++)
        if (w->actors[i].transaction)
            holders[count++] = (sb_holder_t){(uint64_t)w->actors[i].transaction, 1, 0};
    assert_int_equal(sb_rule_tick(&w->rule, w->drawn_read, holders, count, NULL), SB_OK);
    w->drawn_read = -1;
}

static void step(world_t *w)
{
    actor_t *actor = &w->actors[random_number() % ACTORS];
    int act = random_number() % 8;
    if (act == 0 && !actor->transaction) {
        actor->transaction = w->next++;
    } else if (act <= 2 && actor->transaction) {
        w->by[++w->drawn] = actor->transaction;
    } else if (act == 3 && actor->transaction) {
        end_transaction(w, actor, random_number() % 4 > 0);
    } else if (act == 4 && w->drawn_read < 0) {
        begin_look(w);
    } else if (act == 5 && w->drawn_read >= 0) {
        end_look(w);
    } else if (act == 6 && random_number() % 20 == 0) {
        sb_rule_start(&w->rule, w->rule.safe); /* a takeover */
        w->drawn_read = -1;
    } else if (act == 7) {
        follow_run(w);
    }
}

static void nothing_appears_below_safe_in_any_order(void **state)
{
    (void)state;
    static world_t w;
    random_state = 3;
    int64_t all = 0, safe = 0;
    for (int round = 0; round < 300; round++) {
        w = (world_t){.drawn_read = -1, .next = 1};
        sb_rule_init(&w.rule);
        sb_rule_start(&w.rule, 0);
        for (int i = 0; i < STEPS; i++)
            step(&w);
        all += w.drawn;
        safe += w.rule.safe;
        sb_rule_fini(&w.rule);
    }
    assert_true(safe * 2 > all); /* and it does get on */
}

/* ---- what is known to be on disk ---- */

static void say(sb_progress_t *progress, int64_t first, int64_t last, size_t count)
{
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = first, .last_seq = last};
    sb_progress_appended(progress, sb_progress_era(progress), &result, count);
}

static void what_is_on_disk_is_known_without_holes(void **state)
{
    (void)state;
    static sb_progress_t progress;
    sb_signal_t poke;
    bool known[402] = {false};
    int64_t safe = 0;
    random_state = 11;
    sb_progress_init(&progress);
    say(&progress, 1, 1, 1);
    assert_int_equal(sb_progress_disk_seq(&progress, 0),
                     0); /* nobody asks: no sequencer of this process leads */
    assert_int_equal(sb_signal_init(&poke, NULL), SB_OK);
    progress.poke = &poke;
    sb_progress_era_begin(&progress);
    say(&progress, 1, 3, 2); /* one of them is another's */
    sb_append_result_t refused = {.outcome = SB_APPEND_REPEATED, .first_seq = 1, .last_seq = 1};
    sb_progress_appended(&progress, 0, &refused, 1);
    sb_progress_appended(NULL, 0, &refused, 1);
    assert_int_equal(sb_progress_disk_seq(&progress, 0), 0);
    for (int i = 0; i < 4000 && safe < 400; i++) {
        int64_t first = 1 + random_number() % 400, last = first + random_number() % 3;
        last = last > 400 ? 400 : last;
        bool crowded = progress.span_count >= SB_PROGRESS_SPANS - 1;
        if (!crowded) {
            say(&progress, first, last, (size_t)(last - first) + 1);
            for (int64_t n = first; n <= last; n++)
                known[n] = true;
        }
        int64_t want = safe;
        while (want < 400 && known[want + 1])
            want++;
        assert_int_equal(sb_progress_disk_seq(&progress, safe), want);
        if (random_number() % 8 == 0 || crowded)
            safe = want + (crowded || random_number() % 8 == 0); /* another's event lies between */
    }
    assert_true(safe >= 400);
    for (int64_t n = 1000; n < 1000 + 4 * SB_PROGRESS_SPANS; n += 2) /* never more than there is room for */
        say(&progress, n, n, 1);
    assert_int_equal(progress.span_count, SB_PROGRESS_SPANS);
    assert_int_equal(sb_progress_disk_seq(&progress, 998 + 4 * SB_PROGRESS_SPANS - 1),
                     998 + 4 * SB_PROGRESS_SPANS);
    sb_progress_era_begin(&progress);
    assert_int_equal(sb_progress_disk_seq(&progress, 999), 999);
    sb_append_result_t late = {.outcome = SB_APPENDED, .first_seq = 1000, .last_seq = 1000};
    sb_progress_appended(&progress, 0, &late, 1); /* begun before all was forgotten: of another server */
    assert_int_equal(sb_progress_disk_seq(&progress, 999), 999);
    sb_progress_appended(&progress, sb_progress_era(&progress), &late, 1);
    assert_int_equal(sb_progress_disk_seq(&progress, 999), 1000);
    sb_signal_fini(&poke);
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
        cmocka_unit_test(a_run_waits_for_nobody_who_came_later),
        cmocka_unit_test(nothing_appears_below_safe_in_any_order),
        cmocka_unit_test(what_is_on_disk_is_known_without_holes),
    };
    return cmocka_run_group_tests_name("sequencer_rule", tests, NULL, NULL);
}
