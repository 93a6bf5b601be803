/* The barrier: every order in which a command, its repeats and its undo can come; one by one, with rows that
 * are entered before their handlers, and again at once, with rows that are written behind them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include "saga/participant/barrier.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *a;
    sb_pg_t *b;
    sb_command_t forward;
    sb_command_t undo;
} fixture_t;

static sb_barrier_t barrier[2]; /* of the two connections */
static bool at_once;

static const sb_pg_t *second;

static sb_barrier_t *of(const sb_pg_t *pg)
{
    return &barrier[pg == second];
}

static sb_pg_t *open_service(const char *uri)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {
        .uri = uri, .search_path = SB_TEST_CLIENT_SCHEMA, .idle_in_transaction_ms = 300000};
    assert_ok(sb_pg_open(&pg, &config, &err), &err);
    return pg;
}

static int set_up(void **state)
{
    static fixture_t f;
    memset(&f, 0, sizeof f);
    (void)sb_test_pg_fresh(f.uri);
    f.a = open_service(f.uri);
    f.b = open_service(f.uri);
    second = f.b;
    sb_barrier_init(&barrier[0]);
    sb_barrier_init(&barrier[1]);
    at_once = false;
    f.forward = (sb_command_t){.id = sb_uuid_v7(), .saga_id = sb_uuid_v7(), .step = SB_SLICE("charge")};
    f.undo = f.forward;
    f.undo.id = sb_uuid_v7();
    f.undo.compensate = true;
    f.undo.forward_id = f.forward.id;
    *state = &f;
    return 0;
}

static int set_up_at_once(void **state)
{
    int code = set_up(state);
    at_once = true;
    return code;
}

static int tear_down(void **state)
{
    fixture_t *f = *state;
    sb_barrier_fini(&barrier[0]);
    sb_barrier_fini(&barrier[1]);
    sb_pg_close(&f->a);
    sb_pg_close(&f->b);
    return 0;
}

static void begin_with(sb_pg_t *pg, bool savepoints, const sb_command_t *const *commands, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_barrier_begin(of(pg), pg, savepoints, commands, at_once ? count : 0, &err), &err);
}

static void begin(sb_pg_t *pg, const sb_command_t *command)
{
    begin_with(pg, true, &command, 1);
}

static void commit(sb_pg_t *pg)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_barrier_commit(of(pg), &err), &err);
}

static sb_barrier_verdict_t enter(sb_pg_t *pg, const sb_command_t *command, bool completed,
                                  sb_barrier_answer_t *answer)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_verdict_t verdict;
    assert_ok(sb_barrier_enter(of(pg), command, completed, &verdict, answer, &err), &err);
    return verdict;
}

static void keep(sb_pg_t *pg, const sb_command_t *command, sb_reply_outcome_t outcome, const char *result)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    answer.outcome = outcome;
    sb_buf_add_text(&answer.result, result);
    assert_ok(sb_barrier_keep(of(pg), command, &answer, &err), &err);
    sb_barrier_answer_fini(&answer);
}

/* Enters in a transaction of its own that commits; the handler's part is a kept success. */
static sb_barrier_verdict_t whole(sb_pg_t *pg, const sb_command_t *command, bool completed,
                                  sb_barrier_answer_t *answer)
{
    begin(pg, command);
    sb_barrier_verdict_t verdict = enter(pg, command, completed, answer);
    if (verdict == SB_BARRIER_RUN)
        keep(pg, command, SB_REPLY_SUCCESS, "{\"n\":1}");
    commit(pg);
    return verdict;
}

static void a_repeat_is_told_the_first_answer(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    assert_int_equal(whole(f->b, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_SUCCESS);
    assert_string_equal(sb_buf_text(&answer.result), "{\"n\":1}");
    sb_barrier_answer_fini(&answer);
}

/* A batch puts off what can wait; a repeat and an undo in the same batch must not see the gap, and a refusal
 * must not take its neighbours with it. */
static void commands_of_one_transaction_know_each_other(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_command_t other = f->forward, third = f->forward, again = f->forward;
    other.id = sb_uuid_v7();
    third.id = sb_uuid_v7();
    sb_barrier_answer_init(&answer);
    sb_test_pg_script(f->a, "CREATE TABLE done (n int)");
    const sb_command_t *const commands[] = {&f->forward, &other, &third, &again, &f->undo};
    begin_with(f->a, true, commands, 5);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    sb_test_pg_script(f->a, "INSERT INTO done VALUES (1)");
    keep(f->a, &f->forward, SB_REPLY_SUCCESS, "{\"n\":1}");
    assert_int_equal(enter(f->a, &other, false, &answer), SB_BARRIER_RUN);
    sb_test_pg_script(f->a, "INSERT INTO done VALUES (2)");
    keep(f->a, &other, SB_REPLY_FAILURE, "");
    assert_int_equal(enter(f->a, &third, false, &answer), SB_BARRIER_RUN);
    sb_test_pg_script(f->a, "INSERT INTO done VALUES (3)");
    keep(f->a, &third, SB_REPLY_SUCCESS, "{}");
    assert_int_equal(enter(f->a, &again, false, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"n\":1}");
    assert_int_equal(enter(f->a, &f->undo, true, &answer), SB_BARRIER_RUN);
    sb_test_pg_script(f->a, "DELETE FROM done WHERE n = 1");
    keep(f->a, &f->undo, SB_REPLY_SUCCESS, "{\"undone\":1}");
    commit(f->a);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT sum(n)::bigint FROM done"), 3);
    assert_int_equal(whole(f->b, &f->undo, true, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"undone\":1}");
    assert_int_equal(whole(f->b, &third, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_SUCCESS);
    assert_int_equal(whole(f->b, &other, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    sb_barrier_answer_fini(&answer);
}

/* The same, without savepoints: only where nothing need be taken back. */
static void a_refusal_that_wrote_nothing_is_kept_without_savepoints(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_answer_t answer;
    sb_command_t other = f->forward, third = f->forward;
    other.id = sb_uuid_v7();
    third.id = sb_uuid_v7();
    sb_barrier_answer_init(&answer);
    const sb_command_t *const commands[] = {&third, &f->forward, &other};
    sb_test_pg_script(f->a, "CREATE TABLE done (n int)");
    begin_with(f->a, false, commands, 3);
    assert_int_equal(enter(f->a, &third, false, &answer), SB_BARRIER_RUN);
    assert_ok(sb_barrier_forget(of(f->a), &third, &err), &err);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    keep(f->a, &f->forward, SB_REPLY_FAILURE, "{}");
    assert_int_equal(enter(f->a, &other, false, &answer), SB_BARRIER_RUN);
    sb_test_pg_script(f->a, "INSERT INTO done VALUES (1)");
    keep(f->a, &other, SB_REPLY_SUCCESS, "{\"n\":2}");
    commit(f->a);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT count(*) FROM done"), 1);
    assert_int_equal(whole(f->b, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    assert_int_equal(whole(f->b, &other, false, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"n\":2}");
    assert_int_equal(whole(f->b, &third, false, &answer), SB_BARRIER_RUN); /* forgotten */
    sb_barrier_answer_fini(&answer);
}

static void a_forward_behind_its_undo_in_one_batch_is_voided(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    const sb_command_t *const commands[] = {&f->undo, &f->forward};
    begin_with(f->a, true, commands, 2);
    assert_int_equal(enter(f->a, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "voided");
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    assert_contains(sb_buf_text(&answer.error), "voided");
    commit(f->a);
    sb_barrier_answer_fini(&answer);
}

/* An undo in the batch of its forward command sees what that came to, not that its row is there. */
static void an_undo_behind_a_refused_forward_has_nothing_to_undo(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_answer_t answer;
    sb_command_t other = f->forward, undo_other = f->undo;
    other.id = sb_uuid_v7();
    undo_other.id = sb_uuid_v7();
    undo_other.forward_id = other.id;
    sb_barrier_answer_init(&answer);
    const sb_command_t *const commands[] = {&f->forward, &other, &f->undo, &undo_other};
    begin_with(f->a, true, commands, 4);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    keep(f->a, &f->forward, SB_REPLY_FAILURE, "{}");
    assert_int_equal(enter(f->a, &other, false, &answer), SB_BARRIER_RUN);
    assert_ok(sb_barrier_forget(of(f->a), &other, &err), &err);
    assert_int_equal(enter(f->a, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "nothing_to_undo");
    assert_int_equal(enter(f->a, &undo_other, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "voided"); /* its forward was forgotten: it never ran */
    commit(f->a);
    assert_int_equal(whole(f->b, &other, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    sb_barrier_answer_fini(&answer);
}

/* Undos of forward commands of earlier batches, each its own case, judged by one look. */
static void undos_of_one_batch_are_told_apart(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_command_t forward[3], undo[4];
    const sb_command_t *commands[4];
    sb_barrier_answer_init(&answer);
    for (int i = 0; i < 4; i++) {
        undo[i] = f->undo;
        undo[i].id = sb_uuid_v7();
        undo[i].forward_id = sb_uuid_v7();
        commands[i] = &undo[i];
    }
    for (int i = 0; i < 3; i++) {
        forward[i] = f->forward;
        forward[i].id = undo[i].forward_id;
    }
    (void)whole(f->b, &forward[0], false, &answer); /* succeeded */
    begin(f->b, &forward[1]);
    (void)enter(f->b, &forward[1], false, &answer);
    keep(f->b, &forward[1], SB_REPLY_FAILURE, "{}"); /* refused */
    commit(f->b);
    begin_with(f->a, true, commands, 4);
    assert_int_equal(enter(f->a, &undo[0], true, &answer), SB_BARRIER_RUN);
    keep(f->a, &undo[0], SB_REPLY_SUCCESS, "{\"undone\":1}");
    assert_int_equal(enter(f->a, &undo[1], false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "nothing_to_undo");
    assert_int_equal(enter(f->a, &undo[2], false, &answer), SB_BARRIER_ANSWERED); /* never came */
    assert_contains(sb_buf_text(&answer.result), "voided");
    assert_int_equal(enter(f->a, &undo[3], true, &answer), SB_BARRIER_ANSWERED); /* lost */
    assert_int_equal(answer.outcome, SB_REPLY_ERROR);
    commit(f->a);
    assert_int_equal(whole(f->b, &undo[0], true, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"undone\":1}");
    assert_int_equal(sb_test_pg_int(f->a, "SELECT count(*) FROM barrier"), 2 + 2 + 1 + 1);
    sb_barrier_answer_fini(&answer);
}

/* ---- any batch, beside what its commands would come to one by one ---- */

enum { PAIRS = 3, BATCH = 8 };

typedef enum known { NOTHING, DONE, REFUSED, VOIDED } known_t;

typedef struct row {
    known_t known;
    char result[32];
} row_t;

typedef struct model {
    sb_command_t command[2 * PAIRS]; /* forward commands, then their undos */
    row_t row[2 * PAIRS];
} model_t;

static void make_commands(model_t *m, const sb_command_t *like, unsigned *seed)
{
    sb_uuid_t id[2 * PAIRS];
    for (int i = 0; i < 2 * PAIRS; i++)
        id[i] = sb_uuid_v7();
    for (int i = 0; i < 2 * PAIRS; i++) { /* in no order: rows are written in that of their ids */
        int j = rand_r(seed) % (2 * PAIRS);
        sb_uuid_t other = id[i];
        id[i] = id[j];
        id[j] = other;
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        m->command[i] = *like;
        m->command[i].id = id[i];
        m->command[i].compensate = i >= PAIRS;
        if (i >= PAIRS)
            m->command[i].forward_id = id[i - PAIRS];
        m->row[i].known = NOTHING;
    }
}

static void learn(row_t *row, known_t known, const char *result)
{
    row->known = known;
    (void)snprintf(row->result, sizeof row->result, "%s", result);
}

/* False: it is answered with an error and leaves nothing. */
static bool expect(model_t *m, int which, bool completed, bool *runs)
{
    row_t *row = &m->row[which];
    *runs = row->known == NOTHING;
    if (!*runs || which < PAIRS)
        return true;
    row_t *forward = &m->row[which - PAIRS];
    *runs = forward->known == DONE;
    if (forward->known == NOTHING && completed)
        return false;
    if (forward->known == NOTHING) {
        learn(forward, VOIDED, "");
        learn(row, DONE, "{\"voided\":true}");
    } else if (!*runs) {
        learn(row, DONE, "{\"nothing_to_undo\":true}");
    }
    return true;
}

static void handle(sb_pg_t *pg, row_t *row, const sb_command_t *command, int what)
{
    sb_error_t err = SB_ERROR_INIT;
    char result[32] = "";
    if (what == 0) {
        assert_ok(sb_barrier_forget(of(pg), command, &err), &err);
        return;
    }
    if (what % 2)
        (void)snprintf(result, sizeof result, "{\"n\":%d}", what);
    bool refused = what < 4 && !command->compensate;
    learn(row, refused ? REFUSED : DONE, result);
    keep(pg, command, refused ? SB_REPLY_FAILURE : SB_REPLY_SUCCESS, result);
}

static void take_turn(sb_pg_t *pg, model_t *m, const sb_command_t *command, int which, unsigned *seed)
{
    sb_barrier_answer_t answer;
    bool completed = which >= PAIRS && rand_r(seed) % 2, runs;
    sb_barrier_answer_init(&answer);
    sb_barrier_verdict_t verdict = enter(pg, command, completed, &answer);
    bool known = expect(m, which, completed, &runs);
    row_t *row = &m->row[which];
    assert_int_equal(verdict == SB_BARRIER_RUN, runs);
    if (runs) {
        handle(pg, row, command, rand_r(seed) % 8);
    } else {
        assert_int_equal(answer.outcome, !known               ? SB_REPLY_ERROR
                                         : row->known == DONE ? SB_REPLY_SUCCESS
                                                              : SB_REPLY_FAILURE);
        assert_string_equal(sb_buf_text(&answer.result), known ? row->result : "");
    }
    sb_barrier_answer_fini(&answer);
}

static void any_batch_is_as_if_one_by_one(void **state)
{
    fixture_t *f = *state;
    unsigned seed = 7;
    for (int world = 0; world < 25; world++) {
        model_t model, before;
        make_commands(&model, &f->forward, &seed);
        for (int n = 0; n < 4; n++) {
            const sb_command_t *commands[BATCH];
            sb_command_t copy[BATCH]; /* each message is decoded on its own */
            int which[BATCH], count = 1 + rand_r(&seed) % BATCH;
            before = model;
            for (int i = 0; i < count; i++) {
                which[i] = rand_r(&seed) % (2 * PAIRS);
                copy[i] = model.command[which[i]];
                commands[i] = &copy[i];
            }
            begin_with(f->a, rand_r(&seed) % 2, commands, count);
            for (int i = 0; i < count; i++)
                take_turn(f->a, &model, commands[i], which[i], &seed);
            if (rand_r(&seed) % 4) {
                commit(f->a);
                continue;
            }
            sb_barrier_rollback(of(f->a));
            model = before;
        }
    }
}

static void a_refusal_is_kept(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    begin(f->a, &f->forward);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    keep(f->a, &f->forward, SB_REPLY_FAILURE, "{}");
    commit(f->a);
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    /* and its undo has nothing to do */
    assert_int_equal(whole(f->a, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_SUCCESS);
    sb_barrier_answer_fini(&answer);
}

static void an_undo_without_its_forward_is_voided_and_the_late_forward_does_nothing(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    assert_int_equal(whole(f->a, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_SUCCESS);
    assert_contains(sb_buf_text(&answer.result), "voided");
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    assert_contains(sb_buf_text(&answer.error), "voided");
    /* the undo again: the same answer, byte for byte */
    assert_int_equal(whole(f->a, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "voided");
    sb_barrier_answer_fini(&answer);
}

static void an_undo_of_a_done_forward_runs_once(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    assert_int_equal(whole(f->a, &f->undo, true, &answer), SB_BARRIER_RUN);
    assert_int_equal(whole(f->a, &f->undo, true, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_SUCCESS);
    sb_barrier_answer_fini(&answer);
}

static void a_completed_forward_without_a_row_is_an_error_and_leaves_nothing(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    assert_int_equal(whole(f->a, &f->undo, true, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_ERROR);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT count(*) FROM barrier"), 0);
    sb_barrier_answer_fini(&answer);
}

static void a_forgotten_command_runs_again(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    begin(f->a, &f->forward);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    assert_ok(sb_barrier_forget(of(f->a), &f->forward, &err), &err);
    commit(f->a);
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    sb_barrier_answer_fini(&answer);
}

/* ---- the undo overtakes a forward command in flight ---- */

typedef struct racer {
    fixture_t *f;
    sb_barrier_verdict_t verdict;
    sb_barrier_answer_t answer;
} racer_t;

static void *undo_in_a_thread(void *context)
{
    racer_t *racer = context;
    racer->verdict = whole(racer->f->b, &racer->f->undo, false, &racer->answer);
    return NULL;
}

static bool somebody_waits(sb_pg_t *pg)
{
    return sb_test_pg_int(pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0;
}

static void race(fixture_t *f, bool forward_commits, racer_t *racer)
{
    pthread_t thread;
    sb_pg_t *watcher = sb_test_pg_open(f->uri);
    racer->f = f;
    sb_barrier_answer_init(&racer->answer);
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    begin(f->a, &f->forward);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    assert_int_equal(pthread_create(&thread, NULL, undo_in_a_thread, racer), 0);
    assert_soon(somebody_waits(watcher), 5000); /* the undo's insert waits for the forward's transaction */
    if (forward_commits) {
        keep(f->a, &f->forward, SB_REPLY_SUCCESS, "{}");
        commit(f->a);
    } else {
        sb_barrier_rollback(of(f->a));
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    sb_barrier_answer_fini(&answer);
    sb_pg_close(&watcher);
}

static void an_undo_waits_for_the_forward_in_flight_and_runs_if_that_commits(void **state)
{
    racer_t racer;
    race(*state, true, &racer);
    assert_int_equal(racer.verdict, SB_BARRIER_RUN);
    sb_barrier_answer_fini(&racer.answer);
}

static void an_undo_waits_for_the_forward_in_flight_and_voids_it_if_that_rolls_back(void **state)
{
    fixture_t *f = *state;
    racer_t racer;
    race(f, false, &racer);
    assert_int_equal(racer.verdict, SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&racer.answer.result), "voided");
    assert_int_equal(whole(f->a, &f->forward, false, &racer.answer), SB_BARRIER_ANSWERED);
    assert_int_equal(racer.answer.outcome, SB_REPLY_FAILURE);
    sb_barrier_answer_fini(&racer.answer);
}

/* The teeth: a barrier that looks first and inserts after lets the late forward run behind its undo. */
static void the_known_wrong_barrier_is_caught(void **state)
{
    fixture_t *f = *state;
    at_once = false;
    begin(f->a, NULL); /* the forward looks: nothing there */
    int64_t seen = sb_test_pg_int(f->a, "SELECT count(*) FROM barrier");
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    assert_int_equal(whole(f->b, &f->undo, false, &answer),
                     SB_BARRIER_ANSWERED); /* the undo comes and goes */
    assert_int_equal(seen, 0); /* so the wrong barrier would run the forward now: an effect after its undo */
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED); /* ours does not */
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    commit(f->a);
    sb_barrier_answer_fini(&answer);
}

/* ---- at once: somebody else has a command of the batch in hand ---- */

static void write_effect(sb_pg_t *pg)
{
    sb_test_pg_script(pg, "INSERT INTO done VALUES (1)");
}

static int64_t effects(sb_pg_t *pg)
{
    return sb_test_pg_int(pg, "SELECT count(*) FROM done");
}

/* The forward command has run, and is not written yet; its undo comes and goes. What the commit says. */
static sb_code_t be_overtaken_by_the_undo(fixture_t *f)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    begin(f->a, &f->forward);
    assert_int_equal(enter(f->a, &f->forward, false, &answer), SB_BARRIER_RUN);
    write_effect(f->a);
    keep(f->a, &f->forward, SB_REPLY_SUCCESS, "{}");
    assert_int_equal(whole(f->b, &f->undo, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.result), "voided");
    sb_barrier_answer_fini(&answer);
    return sb_barrier_commit(of(f->a), &err);
}

static void a_forward_whose_undo_was_faster_comes_to_nothing(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    sb_test_pg_script(f->a, "CREATE TABLE done (n int)");
    assert_int_equal(be_overtaken_by_the_undo(f), SB_CONFLICT);
    sb_barrier_rollback(of(f->a));
    assert_int_equal(effects(f->b), 0);
    at_once = false; /* as the participant has it again */
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_int_equal(answer.outcome, SB_REPLY_FAILURE);
    assert_contains(sb_buf_text(&answer.error), "voided");
    sb_barrier_answer_fini(&answer);
}

/* The teeth: rows that pass over what is there (ON CONFLICT DO NOTHING) let an effect stand behind its undo.
 */
static void a_write_that_passes_over_doubles_is_caught(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->a, "CREATE TABLE done (n int);"
                            "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
                            "IF EXISTS (SELECT FROM barrier b WHERE b.command_id = NEW.command_id) THEN "
                            "RETURN NULL; END IF; RETURN NEW; END$$;"
                            "CREATE TRIGGER pass_over BEFORE INSERT ON barrier FOR EACH ROW "
                            "EXECUTE FUNCTION pass_over()");
    assert_int_equal(be_overtaken_by_the_undo(f), SB_OK);
    assert_int_equal(effects(f->b), 1);
}

static void *commit_in_a_thread(void *context)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t *code = context;
    *code = sb_barrier_commit(&barrier[0], &err);
    return NULL;
}

/* b has the forward command in hand, one by one; a has this command at once, and commits while b is at it. */
static sb_code_t commit_beside_the_forward(fixture_t *f, const sb_command_t *command, bool forward_commits)
{
    pthread_t thread;
    sb_code_t code = SB_INTERNAL;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    sb_pg_t *watcher = sb_test_pg_open(f->uri);
    at_once = false;
    begin(f->b, &f->forward);
    assert_int_equal(enter(f->b, &f->forward, false, &answer), SB_BARRIER_RUN);
    at_once = true;
    begin(f->a, command);
    if (enter(f->a, command, false, &answer) == SB_BARRIER_RUN) {
        write_effect(f->a);
        keep(f->a, command, SB_REPLY_SUCCESS, "{\"by\":\"a\"}");
    }
    assert_int_equal(pthread_create(&thread, NULL, commit_in_a_thread, &code), 0);
    assert_soon(somebody_waits(watcher), 10000);
    if (forward_commits) {
        keep(f->b, &f->forward, SB_REPLY_SUCCESS, "{\"by\":\"b\"}");
        commit(f->b);
    } else {
        sb_barrier_rollback(of(f->b));
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (code != SB_OK)
        sb_barrier_rollback(of(f->a));
    at_once = false;
    sb_barrier_answer_fini(&answer);
    sb_pg_close(&watcher);
    return code;
}

static void a_command_in_anothers_hand_is_waited_for(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    sb_test_pg_script(f->a, "CREATE TABLE done (n int)");
    assert_int_equal(commit_beside_the_forward(f, &f->forward, true), SB_CONFLICT);
    assert_int_equal(effects(f->a), 0);
    assert_int_equal(whole(f->a, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"by\":\"b\"}");
    f->forward.id = sb_uuid_v7();
    assert_int_equal(commit_beside_the_forward(f, &f->forward, false), SB_OK);
    assert_int_equal(effects(f->a), 1);
    assert_int_equal(whole(f->b, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_string_equal(sb_buf_text(&answer.result), "{\"by\":\"a\"}");
    sb_barrier_answer_fini(&answer);
}

static void a_forward_in_anothers_hand_is_not_voided_before_it_has_ended(void **state)
{
    fixture_t *f = *state;
    sb_barrier_answer_t answer;
    sb_barrier_answer_init(&answer);
    sb_test_pg_script(f->a, "CREATE TABLE done (n int)");
    assert_int_equal(commit_beside_the_forward(f, &f->undo, true), SB_CONFLICT);
    assert_int_equal(whole(f->a, &f->undo, false, &answer), SB_BARRIER_RUN); /* it had its effect */
    f->forward.id = sb_uuid_v7();
    f->undo.id = sb_uuid_v7();
    f->undo.forward_id = f->forward.id;
    assert_int_equal(commit_beside_the_forward(f, &f->undo, false), SB_OK);
    assert_int_equal(whole(f->b, &f->forward, false, &answer), SB_BARRIER_ANSWERED);
    assert_contains(sb_buf_text(&answer.error), "voided");
    sb_barrier_answer_fini(&answer);
}

/* ---- two members that have the same commands ---- */

enum { ROUNDS = 25, ROUNDS_MAX = 2000, BATCHES = 4 };

typedef struct crowd {
    model_t model; /* only its commands */
    pthread_barrier_t line;
    pthread_mutex_t lock;
    bool naive; /* always at once */
    char told[2 * PAIRS][64];
    int conflicts, runs;
    const char *fault;
} crowd_t;

typedef struct member {
    crowd_t *crowd;
    sb_pg_t *pg;
    unsigned seed;
    int which[BATCH];
    sb_command_t copy[BATCH];
    char said[BATCH][64]; /* "": an error */
} member_t;

static sb_code_t play_turn(member_t *m, int turn, sb_error_t *err)
{
    static const char *const effect[] = {"INSERT INTO effect SELECT $1::uuid, NULL",
                                         "INSERT INTO effect SELECT $1::uuid, $2::uuid"};
    const sb_command_t *command = &m->copy[turn];
    sb_barrier_answer_t answer;
    sb_barrier_verdict_t verdict;
    sb_barrier_answer_init(&answer);
    sb_code_t code = sb_barrier_enter(of(m->pg), command, false, &verdict, &answer, err);
    if (code == SB_OK && verdict == SB_BARRIER_RUN) {
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_add_uuid(&params, &command->id);
        if (command->compensate)
            sb_pg_add_uuid(&params, &command->forward_id);
        answer.outcome = SB_REPLY_SUCCESS;
        sb_buf_reset(&answer.result);
        sb_buf_printf(&answer.result, "{\"n\":%d}", rand_r(&m->seed));
        code = sb_pg_query(m->pg, effect[command->compensate], &params, NULL, err);
        if (code == SB_OK)
            code = sb_barrier_keep(of(m->pg), command, &answer, err);
    }
    (void)snprintf(m->said[turn], sizeof m->said[turn], "%d %s", (int)answer.outcome,
                   sb_buf_text(&answer.result));
    sb_barrier_answer_fini(&answer);
    return code;
}

static sb_code_t play_batch(member_t *m, bool together, int from, int count, sb_error_t *err)
{
    const sb_command_t *commands[BATCH];
    for (int i = 0; i < count; i++)
        commands[i] = &m->copy[from + i];
    sb_code_t code =
        sb_barrier_begin(of(m->pg), m->pg, rand_r(&m->seed) % 2, commands, together ? count : 0, err);
    for (int i = 0; i < count && code == SB_OK; i++)
        code = play_turn(m, from + i, err);
    if (code == SB_OK)
        code = sb_barrier_commit(of(m->pg), err);
    if (code != SB_OK)
        sb_barrier_rollback(of(m->pg));
    return code;
}

/* What was told and committed is what anybody is told who asks again. */
static void compare(member_t *m, int from, int count)
{
    crowd_t *crowd = m->crowd;
    (void)pthread_mutex_lock(&crowd->lock);
    for (int i = from; i < from + count; i++) {
        char *told = crowd->told[m->which[i]];
        if (told[0] && strcmp(told, m->said[i]) != 0)
            crowd->fault = "a repeat was told something else";
        (void)snprintf(told, sizeof crowd->told[0], "%s", m->said[i]);
    }
    (void)pthread_mutex_unlock(&crowd->lock);
}

static void play_all(member_t *m, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    bool together = m->crowd->naive || rand_r(&m->seed) % 4;
    sb_code_t code = play_batch(m, together, 0, count, &err);
    if (code == SB_OK) {
        compare(m, 0, count);
        return;
    }
    (void)pthread_mutex_lock(&m->crowd->lock);
    m->crowd->conflicts += together && code == SB_CONFLICT;
    (void)pthread_mutex_unlock(&m->crowd->lock);
    int i = 0;
    while (i < count) { /* two of them may lock each other out: one at a time, until it goes through */
        err = (sb_error_t)SB_ERROR_INIT;
        code = play_batch(m, false, i, 1, &err);
        if (code == SB_OK)
            compare(m, i++, 1);
        else if (!err.retryable || !sb_pg_is_open(m->pg))
            m->crowd->fault = "a command does not go through";
        if (m->crowd->fault)
            return;
    }
}

static void *be_a_member(void *context)
{
    member_t *m = context;
    crowd_t *crowd = m->crowd;
    for (int n = 0; n < BATCHES; n++) {
        int count = 2 + rand_r(&m->seed) % (BATCH - 2);
        for (int i = 0; i < count; i++) {
            m->which[i] = rand_r(&m->seed) % (2 * PAIRS);
            m->copy[i] = crowd->model.command[m->which[i]];
        }
        (void)pthread_barrier_wait(&crowd->line);
        play_all(m, count);
    }
    return NULL;
}

static const char twice[] = "SELECT count(*) FROM (SELECT id FROM effect GROUP BY id HAVING count(*) > 1) t";
static const char undone_without_effect[] = "SELECT count(*) FROM effect u WHERE u.undoes IS NOT NULL "
                                            "AND NOT EXISTS (SELECT FROM effect f WHERE f.id = u.undoes)";
static const char effect_of_the_voided[] =
    "SELECT count(*) FROM effect e JOIN barrier b ON b.command_id = e.id WHERE b.outcome = 'voided'";
static const char effect_without_row[] =
    "SELECT count(*) FROM effect e WHERE NOT EXISTS (SELECT FROM barrier b WHERE b.command_id = e.id)";

static int64_t breaches(sb_pg_t *pg)
{
    return sb_test_pg_int(pg, twice) + sb_test_pg_int(pg, undone_without_effect) +
           sb_test_pg_int(pg, effect_of_the_voided) + sb_test_pg_int(pg, effect_without_row);
}

static void play_round(fixture_t *f, crowd_t *crowd, unsigned *seed)
{
    pthread_t thread[2];
    static member_t member[2];
    make_commands(&crowd->model, &f->forward, seed);
    memset(crowd->told, 0, sizeof crowd->told);
    for (int i = 0; i < 2; i++) {
        member[i] = (member_t){.crowd = crowd, .pg = i ? f->b : f->a, .seed = (unsigned)rand_r(seed)};
        assert_int_equal(pthread_create(&thread[i], NULL, be_a_member, &member[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
}

static void open_crowd(fixture_t *f, crowd_t *crowd, bool naive)
{
    *crowd = (crowd_t){.naive = naive};
    assert_int_equal(pthread_barrier_init(&crowd->line, NULL, 2), 0);
    assert_int_equal(pthread_mutex_init(&crowd->lock, NULL), 0);
    sb_test_pg_script(f->a, "CREATE TABLE effect (id uuid, undoes uuid)");
}

static void close_crowd(crowd_t *crowd)
{
    (void)pthread_barrier_destroy(&crowd->line);
    (void)pthread_mutex_destroy(&crowd->lock);
}

/* At least so many rounds, and until they have met. */
static void two_members_with_the_same_commands_have_each_effect_once(void **state)
{
    fixture_t *f = *state;
    static crowd_t crowd;
    unsigned seed = 11;
    open_crowd(f, &crowd, false);
    for (int n = 0; n < ROUNDS_MAX && (n < ROUNDS || crowd.conflicts < 5); n++) {
        play_round(f, &crowd, &seed);
        if (crowd.fault)
            fail_msg("round %d: %s", n, crowd.fault);
        assert_int_equal(breaches(f->a), 0);
    }
    assert_true(crowd.conflicts >= 5);
    close_crowd(&crowd);
}

/* The teeth: without the key that makes two writers of one command meet, the same rounds find breaches. */
static void members_that_do_not_meet_are_caught(void **state)
{
    fixture_t *f = *state;
    static crowd_t crowd;
    unsigned seed = 11;
    open_crowd(f, &crowd, true);
    sb_test_pg_script(
        f->a, "ALTER TABLE barrier DROP CONSTRAINT barrier_pkey; CREATE INDEX ON barrier (command_id)");
    int64_t found = 0;
    for (int n = 0; n < ROUNDS_MAX && found == 0; n++) {
        play_round(f, &crowd, &seed);
        found = breaches(f->a);
    }
    assert_true(found > 0);
    close_crowd(&crowd);
}

int main(void)
{
#define CASE(name)                                                                                           \
    cmocka_unit_test_setup_teardown(name, set_up, tear_down),                                                \
    {                                                                                                        \
#name ", at once", name, set_up_at_once, tear_down, NULL                                             \
    }
#define ONE_BY_ONE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define AT_ONCE(name)    cmocka_unit_test_setup_teardown(name, set_up_at_once, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_repeat_is_told_the_first_answer),
        CASE(commands_of_one_transaction_know_each_other),
        CASE(a_refusal_that_wrote_nothing_is_kept_without_savepoints),
        CASE(a_forward_behind_its_undo_in_one_batch_is_voided),
        CASE(an_undo_behind_a_refused_forward_has_nothing_to_undo),
        CASE(undos_of_one_batch_are_told_apart),
        CASE(any_batch_is_as_if_one_by_one),
        CASE(a_refusal_is_kept),
        CASE(an_undo_without_its_forward_is_voided_and_the_late_forward_does_nothing),
        CASE(an_undo_of_a_done_forward_runs_once),
        CASE(a_completed_forward_without_a_row_is_an_error_and_leaves_nothing),
        CASE(a_forgotten_command_runs_again),
        ONE_BY_ONE(an_undo_waits_for_the_forward_in_flight_and_runs_if_that_commits),
        ONE_BY_ONE(an_undo_waits_for_the_forward_in_flight_and_voids_it_if_that_rolls_back),
        ONE_BY_ONE(the_known_wrong_barrier_is_caught),
        AT_ONCE(a_forward_whose_undo_was_faster_comes_to_nothing),
        AT_ONCE(a_write_that_passes_over_doubles_is_caught),
        AT_ONCE(a_command_in_anothers_hand_is_waited_for),
        AT_ONCE(a_forward_in_anothers_hand_is_not_voided_before_it_has_ended),
        AT_ONCE(two_members_with_the_same_commands_have_each_effect_once),
        AT_ONCE(members_that_do_not_meet_are_caught),
    };
    return cmocka_run_group_tests_name("barrier", tests, sb_test_pg_start, sb_test_pg_stop);
}
