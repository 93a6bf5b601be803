/* What the proxy of tests/support does to a client, proven by the table.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/proxy.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *direct; /* not by way of the proxy */
    sb_pg_t *pg;
    sb_test_proxy_t *proxy;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    char direct[SB_TEST_URI];
    fixture = (fixture_t){.pg = NULL};
    fixture.direct = sb_test_pg_open(sb_test_pg_empty(direct));
    sb_test_pg_script(fixture.direct, "CREATE TABLE public.t (a int PRIMARY KEY)");
    sb_test_proxy_open(&fixture.proxy);
    fixture.pg = sb_test_pg_open(sb_test_proxy_uri(fixture.proxy, direct, fixture.uri));
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_pg_close(&f->pg);
    sb_pg_close(&f->direct);
    sb_test_proxy_close(&f->proxy);
    return 0;
}

/* ---- the four ways in which our code commits ---- */

static sb_code_t commit_block(fixture_t *f)
{
    sb_test_pg_script(f->pg, "BEGIN; INSERT INTO public.t VALUES (1)");
    return sb_pg_commit(f->pg, &f->err);
}

static sb_code_t commit_query(fixture_t *f)
{
    return sb_pg_query(f->pg, "INSERT INTO public.t VALUES (1)", NULL, NULL, &f->err);
}

static sb_code_t commit_script(fixture_t *f)
{
    return sb_pg_script(f->pg, "INSERT INTO public.t VALUES (1)", &f->err);
}

static sb_code_t commit_batch(fixture_t *f)
{
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_batch_add(&batch, "SELECT 1", NULL);
    sb_pg_batch_add(&batch, "INSERT INTO public.t VALUES (1)", NULL);
    return sb_pg_batch_run(f->pg, &batch, NULL, NULL, &f->err);
}

static sb_code_t (*const commits[])(fixture_t *f) = {commit_block, commit_query, commit_script, commit_batch};

#define COMMITS (sizeof commits / sizeof commits[0])

static int64_t rows(fixture_t *f)
{
    return sb_test_pg_int(f->direct, "SELECT count(*) FROM public.t");
}

/* Backends but our own that still serve the database. */
static int64_t others(fixture_t *f)
{
    return sb_test_pg_int(f->direct, "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                                     "current_database() AND pid <> pg_backend_pid() AND backend_type = "
                                     "'client backend'");
}

static void cut_each_commit(fixture_t *f, sb_proxy_act_t act, int least, int most)
{
    for (size_t i = 0; i < 2 * COMMITS; i++) {
        sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = act, .reset = i % 2 != 0};
        int hits = sb_test_proxy_hits(f->proxy);
        sb_error_clear(&f->err);
        sb_test_pg_script(f->direct, "DELETE FROM public.t");
        sb_test_proxy_rule(f->proxy, &rule);
        assert_code(SB_UNKNOWN_OUTCOME, commits[i / 2](f), &f->err);
        assert_false(sb_pg_is_open(f->pg));
        assert_int_equal(sb_test_proxy_hits(f->proxy), hits + 1);
        assert_soon(others(f) == 0, 10000);
        assert_in_range(rows(f), least, most);
        assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    }
}

static void a_commit_whose_answer_is_lost_has_happened(void **state)
{
    cut_each_commit(*state, SB_PROXY_CUT_ANSWERED, 1, 1);
}

static void a_commit_that_is_cut_before_has_not_happened(void **state)
{
    cut_each_commit(*state, SB_PROXY_CUT_BEFORE, 0, 0);
}

static void a_commit_that_is_cut_behind_has_happened_or_not(void **state)
{
    cut_each_commit(*state, SB_PROXY_CUT_AFTER, 0, 1);
}

/* ---- the rest ---- */

static void everything_passes_unchanged(void **state)
{
    fixture_t *f = *state;
    size_t size = 5u << 20;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(i * 7 + i / 251);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_bytea(&params, (sb_slice_t){text, size});
    assert_ok(sb_pg_query(f->pg, "SELECT $1::bytea", &params, &result, &f->err), &f->err);
    sb_slice_t back = sb_pg_get_slice(result, 0, 0);
    assert_int_equal(back.len, size);
    assert_memory_equal(back.ptr, text, size);
    sb_pg_result_free(result);
    free(text);
    assert_ok(commit_batch(f), &f->err);
    assert_int_equal(rows(f), 1);
    assert_int_equal(sb_test_proxy_hits(f->proxy), 0);
}

static void what_ends_no_transaction_is_no_commit(void **state)
{
    fixture_t *f = *state;
    sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = SB_PROXY_CUT_ANSWERED};
    sb_test_proxy_rule(f->proxy, &rule);
    assert_ok(sb_pg_begin(f->pg, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT 7"), 7); /* prepared, executed, two times Sync */
    assert_ok(commit_batch(f), &f->err);
    sb_pg_rollback(f->pg);
    assert_int_equal(sb_test_proxy_hits(f->proxy), 0);
    assert_int_equal(rows(f), 0);
    assert_code(SB_UNKNOWN_OUTCOME, commit_batch(f), &f->err);
    assert_int_equal(rows(f), 1);
}

static void a_rule_counts_and_reads_messages(void **state)
{
    fixture_t *f = *state;
    sb_proxy_rule_t rule = {.at = SB_PROXY_MESSAGE,
                            .type = 'Q',
                            .containing = "/* here */",
                            .act = SB_PROXY_CUT_BEFORE,
                            .skip = 1};
    sb_test_proxy_rule(f->proxy, &rule);
    for (int i = 0; i < 3; i++)
        sb_test_pg_script(f->pg, "SELECT 1");
    sb_test_pg_script(f->pg, "SELECT 1 /* here */");
    assert_code(SB_UNKNOWN_OUTCOME, sb_pg_script(f->pg, "SELECT 2 /* here */", &f->err), &f->err);
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    sb_test_pg_script(f->pg, "SELECT 3 /* here */"); /* once is once */
    assert_int_equal(sb_test_proxy_hits(f->proxy), 1);
}

static void a_message_is_held_back(void **state)
{
    fixture_t *f = *state;
    sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = SB_PROXY_DELAY, .delay_ms = 300};
    sb_test_proxy_rule(f->proxy, &rule);
    int64_t start = sb_test_mono_ms();
    assert_ok(commit_query(f), &f->err);
    assert_true(sb_test_mono_ms() - start >= 300);
    assert_int_equal(rows(f), 1);
    assert_int_equal(sb_test_proxy_hits(f->proxy), 1);
}

typedef struct waiting {
    fixture_t *f;
    sb_code_t code;
} waiting_t;

static void *run_commit(void *context)
{
    waiting_t *waiting = context;
    waiting->code = commit_query(waiting->f);
    return NULL;
}

static void a_silent_connection_is_silent_until_it_is_cut(void **state)
{
    fixture_t *f = *state;
    waiting_t waiting = {.f = f};
    pthread_t thread;
    sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = SB_PROXY_DROP};
    sb_test_proxy_rule(f->proxy, &rule);
    assert_int_equal(pthread_create(&thread, NULL, run_commit, &waiting), 0);
    assert_soon(sb_test_proxy_hits(f->proxy) == 1, 10000);
    assert_int_equal(others(f), 1);
    sb_test_proxy_cut(f->proxy);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiting.code, SB_UNKNOWN_OUTCOME);
    assert_soon(others(f) == 0, 10000);
    assert_int_equal(rows(f), 0);
}

static void all_can_be_cut_stalled_and_refused(void **state)
{
    fixture_t *f = *state;
    waiting_t waiting = {.f = f};
    pthread_t thread;
    sb_test_proxy_stall(f->proxy, true);
    assert_int_equal(pthread_create(&thread, NULL, run_commit, &waiting), 0);
    sb_test_sleep_ms(100);
    assert_int_equal(rows(f), 0);
    sb_test_proxy_stall(f->proxy, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiting.code, SB_OK);
    assert_int_equal(rows(f), 1);

    sb_test_proxy_refuse(f->proxy, true);
    sb_test_proxy_cut(f->proxy);
    assert_soon(others(f) == 0, 10000);
    assert_true(sb_pg_script(f->pg, "SELECT 1", &f->err) != SB_OK);
    assert_code(SB_UNAVAILABLE, sb_pg_reopen(f->pg, &f->err), &f->err);
    sb_test_proxy_refuse(f->proxy, false);
    sb_error_clear(&f->err);
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    sb_test_pg_script(f->pg, "SELECT 1");
}

static void a_server_that_is_away_refuses_and_comes_back(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_stop_immediate();
    assert_true(sb_pg_script(f->pg, "SELECT 1", &f->err) != SB_OK);
    assert_code(SB_UNAVAILABLE, sb_pg_reopen(f->pg, &f->err), &f->err);
    sb_test_pg_restart();
    sb_error_clear(&f->err);
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_ok(commit_query(f), &f->err);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(everything_passes_unchanged),
        CASE(a_commit_whose_answer_is_lost_has_happened),
        CASE(a_commit_that_is_cut_before_has_not_happened),
        CASE(a_commit_that_is_cut_behind_has_happened_or_not),
        CASE(what_ends_no_transaction_is_no_commit),
        CASE(a_rule_counts_and_reads_messages),
        CASE(a_message_is_held_back),
        CASE(a_silent_connection_is_silent_until_it_is_cut),
        CASE(all_can_be_cut_stalled_and_refused),
        CASE(a_server_that_is_away_refuses_and_comes_back),
    };
    return cmocka_run_group_tests_name("proxy", tests, sb_test_pg_start, sb_test_pg_stop);
}
