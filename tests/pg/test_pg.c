/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_error_t err;
} fixture_t;

/* A server that crashed brings its whole directory to the disk first, which others may be writing to. */
#define RECOVERY_MS 90000

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_empty(fixture.uri));
    sb_test_pg_script(fixture.pg, "CREATE TABLE t (a int PRIMARY KEY, b text)");
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_pg_close(&f->pg);
    return 0;
}

static const char insert_sql[] = "INSERT INTO t VALUES ($1, $2)";
static const char count_sql[] = "SELECT count(*) FROM t";

static sb_code_t insert(fixture_t *f, int a, const char *b)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int4(&params, a);
    sb_pg_add_text(&params, b);
    return sb_pg_query(f->pg, insert_sql, &params, NULL, &f->err);
}

/* ---- values ---- */

static void values_of_each_type_come_back(void **state)
{
    static const char sql[] =
        "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::text, $10::uuid, $11::bytea, $12::int8";
    fixture_t *f = *state;
    sb_uuid_t id = sb_uuid_v7();
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *r = NULL;
    sb_pg_add_bool(&params, true);
    sb_pg_add_int2(&params, INT16_MIN);
    sb_pg_add_int4(&params, INT32_MIN);
    sb_pg_add_int8(&params, INT64_MIN);
    sb_pg_add_text(&params, "");
    sb_pg_add_bytea(&params, SB_SLICE("a\0b"));
    sb_pg_add_uuid(&params, &id);
    sb_pg_add_time(&params, 1732165175123456);
    sb_pg_add_text(&params, NULL);
    sb_pg_add_uuid(&params, NULL);
    sb_pg_add_bytea(&params, SB_SLICE_NONE);
    sb_pg_add_null(&params, SB_PG_INT8);
    assert_ok(sb_pg_query(f->pg, sql, &params, &r, &f->err), &f->err);
    assert_true(sb_pg_get_bool(r, 0, 0));
    assert_int_equal(sb_pg_get_int(r, 0, 1), INT16_MIN);
    assert_int_equal(sb_pg_get_int(r, 0, 2), INT32_MIN);
    assert_true(sb_pg_get_int(r, 0, 3) == INT64_MIN);
    assert_string_equal(sb_pg_get_text(r, 0, 4), "");
    assert_true(sb_slice_equal(sb_pg_get_slice(r, 0, 5), SB_SLICE("a\0b")));
    sb_uuid_t back = sb_pg_get_uuid(r, 0, 6);
    assert_true(sb_uuid_equal(&back, &id));
    assert_true(sb_pg_get_time(r, 0, 7) == 1732165175123456);
    for (int column = 8; column < 12; column++) {
        assert_true(sb_pg_is_null(r, 0, column));
        assert_null(sb_pg_get_text(r, 0, column));
        assert_int_equal(sb_pg_get_int(r, 0, column), 0);
        assert_int_equal(sb_pg_get_time(r, 0, column), 0);
    }
    sb_pg_result_free(r);
}

static void assert_array(fixture_t *f, const char *sql, const sb_pg_array_t *array, const char *want)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *r = NULL;
    assert_false(sb_pg_array_failed(array));
    sb_pg_add_array(&params, array);
    assert_ok(sb_pg_query(f->pg, sql, &params, &r, &f->err), &f->err);
    assert_string_equal(sb_pg_get_text(r, 0, 0), want);
    sb_pg_result_free(r);
}

static void arrays_of_each_type_arrive(void **state)
{
    static const char
        bools[] = "SELECT $1::bool[]::text",
        int2s[] = "SELECT $1::int2[]::text", int4s[] = "SELECT $1::int4[]::text",
        int8s[] = "SELECT $1::int8[]::text", texts[] = "SELECT $1::text[]::text",
        byteas[] = "SELECT $1::bytea[]::text", uuids[] = "SELECT $1::uuid[]::text",
        times[] = "SELECT array(SELECT extract(epoch FROM x)::int8 FROM unnest($1::timestamptz[]) x)::text";
    fixture_t *f = *state;
    sb_pg_array_t a;
    sb_pg_array_init(&a, SB_PG_BOOL);
    sb_pg_array_add_bool(&a, true);
    sb_pg_array_add_null(&a);
    sb_pg_array_add_bool(&a, false);
    assert_array(f, bools, &a, "{t,NULL,f}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_INT2);
    sb_pg_array_add_int2(&a, -7);
    assert_array(f, int2s, &a, "{-7}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_INT4);
    sb_pg_array_add_int4(&a, INT32_MIN);
    sb_pg_array_add_int4(&a, 7);
    assert_array(f, int4s, &a, "{-2147483648,7}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_INT8);
    for (int i = 0; i < 3; i++)
        sb_pg_array_add_int8(&a, i - 1);
    assert_array(f, int8s, &a, "{-1,0,1}");
    sb_pg_array_reset(&a); /* used again, as between batches */
    sb_pg_array_add_int8(&a, 5);
    assert_array(f, int8s, &a, "{5}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_TEXT);
    sb_pg_array_add_slice(&a, SB_SLICE(""));
    sb_pg_array_add_slice(&a, SB_SLICE_NONE);
    sb_pg_array_add_slice(&a, SB_SLICE("x y"));
    assert_array(f, texts, &a, "{\"\",NULL,\"x y\"}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_BYTEA);
    sb_pg_array_add_slice(&a, SB_SLICE("\0\xff"));
    assert_array(f, byteas, &a, "{\"\\\\x00ff\"}");
    sb_pg_array_fini(&a);
    sb_uuid_t id = {{0xab, 0xcd}};
    sb_pg_array_init(&a, SB_PG_UUID);
    sb_pg_array_add_uuid(&a, &id);
    sb_pg_array_add_uuid(&a, NULL);
    assert_array(f, uuids, &a, "{abcd0000-0000-0000-0000-000000000000,NULL}");
    sb_pg_array_fini(&a);
    sb_pg_array_init(&a, SB_PG_TIMESTAMPTZ);
    sb_pg_array_add_time(&a, 1000000);
    assert_array(f, times, &a, "{1}");
    sb_pg_array_fini(&a);
}

static void an_empty_array_is_not_null(void **state)
{
    static const char sql[] = "SELECT ($1::int4[] IS NULL)::text || cardinality($1::int4[])";
    fixture_t *f = *state;
    sb_pg_array_t a;
    sb_pg_array_init(&a, SB_PG_INT4);
    assert_array(f, sql, &a, "false0");
    sb_pg_array_add_int4(&a, 1);
    sb_pg_array_reset(&a);
    assert_array(f, sql, &a, "false0");
    sb_pg_array_fini(&a);
}

/* ---- connection ---- */

static void settings_of_the_uri_stay(void **state)
{
    static const char show[] =
        "SELECT current_setting('work_mem') || ' ' || current_setting('search_path') || ' ' || "
        "current_setting('client_encoding')";
    fixture_t *f = *state;
    char uri[SB_TEST_URI + 64];
    sb_pg_t *pg = NULL;
    sb_pg_result_t *r = NULL;
    (void)snprintf(uri, sizeof uri, "%s options='-c work_mem=5MB'", f->uri);
    (void)setenv("PGCLIENTENCODING", "LATIN1", 1);
    sb_pg_config_t config = {.uri = uri, .search_path = "\"a b\", public"};
    assert_ok(sb_pg_open(&pg, &config, &f->err), &f->err);
    (void)unsetenv("PGCLIENTENCODING");
    assert_ok(sb_pg_query(pg, show, NULL, &r, &f->err), &f->err);
    assert_string_equal(sb_pg_get_text(r, 0, 0), "5MB \"a b\", public UTF8");
    sb_pg_result_free(r);
    sb_pg_close(&pg);
}

static void a_server_that_is_not_there_is_named(void **state)
{
    fixture_t *f = *state;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = "host=/nonexistent dbname=x"};
    assert_code(SB_UNAVAILABLE, sb_pg_open(&pg, &config, &f->err), &f->err);
    assert_null(pg);
    assert_true(f->err.retryable);
    assert_contains(f->err.message, "/nonexistent");
    config.uri = "host='unclosed";
    assert_code(SB_UNAVAILABLE, sb_pg_open(&pg, &config, &f->err), &f->err);
}

/* Unlike sb_test_pg_int it leaves the statement prepared. */
static int64_t ask(fixture_t *f, const char *sql)
{
    sb_pg_result_t *result = NULL;
    assert_ok(sb_pg_query(f->pg, sql, NULL, &result, &f->err), &f->err);
    int64_t value = sb_pg_get_int(result, 0, 0);
    sb_pg_result_free(result);
    return value;
}

/* Texts that are made come and go: another one at the same address must not meet the statement of before. */
static void a_text_may_be_freed_once_it_is_forgotten(void **state)
{
    fixture_t *f = *state;
    char *text[100];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            text[i] = malloc(64);
            assert_non_null(text[i]);
            (void)snprintf(text[i], 64, "SELECT %d::bigint", round * 1000 + i);
            assert_int_equal(ask(f, text[i]), round * 1000 + i);
        }
        for (int i = 0; i < 100; i += 2)
            assert_true(sb_pg_forget(f->pg, text[i]));
        for (int i = 1; i < 100; i += 2) /* are where they were, for the others */
            assert_int_equal(ask(f, text[i]), round * 1000 + i);
        assert_true(sb_pg_forget(f->pg, text[0]));
        assert_int_equal(ask(f, "SELECT count(*) FROM pg_prepared_statements"), 51);
        for (int i = 0; i < 100; i++) {
            assert_true(sb_pg_forget(f->pg, text[i]));
            free(text[i]);
        }
    }
}

static void statements_are_prepared_again_after_reopen(void **state)
{
    fixture_t *f = *state;
    assert_ok(insert(f, 1, "x"), &f->err);
    assert_int_equal(ask(f, "SELECT count(*) FROM pg_prepared_statements"), 2);
    int pid = sb_pg_backend_pid(f->pg);
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_int_not_equal(sb_pg_backend_pid(f->pg), pid);
    assert_ok(insert(f, 2, "x"), &f->err);
    assert_int_equal(ask(f, count_sql), 2);
}

static void many_statements_fit_the_cache(void **state)
{
    fixture_t *f = *state;
    static char sql[300][32]; /* static text, as embedded files are */
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++) {
            (void)snprintf(sql[i], sizeof sql[i], "SELECT %d", i);
            assert_int_equal(ask(f, sql[i]), i);
        }
    }
}

static void errors_carry_their_state(void **state)
{
    static const char divide[] = "SELECT 1/$1::int4", sleep_long[] = "SELECT pg_sleep(30)";
    fixture_t *f = *state;
    assert_ok(insert(f, 1, "x"), &f->err);
    assert_code(SB_CONFLICT, insert(f, 1, "x"), &f->err);
    assert_string_equal(f->err.origin, "pg:23505");
    assert_false(f->err.retryable);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int4(&params, 0);
    assert_code(SB_INVALID, sb_pg_query(f->pg, divide, &params, NULL, &f->err), &f->err);
    sb_test_pg_script(f->pg, "SET statement_timeout = 1000");
    assert_code(SB_TIMEOUT, sb_pg_query(f->pg, sleep_long, NULL, NULL, &f->err), &f->err);
    assert_true(f->err.retryable);
    sb_test_pg_script(f->pg, "SET statement_timeout = 0");
    assert_code(SB_CONFLICT, sb_pg_script(f->pg, "INSERT INTO t VALUES (1, 'y')", NULL), NULL);
}

static void a_transaction_ends_as_told(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_pg_begin(f->pg, &f->err), &f->err);
    assert_ok(insert(f, 1, "x"), &f->err);
    sb_pg_rollback(f->pg);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 0);
    assert_ok(sb_pg_begin(f->pg, &f->err), &f->err);
    assert_ok(insert(f, 1, "x"), &f->err);
    assert_ok(sb_pg_commit(f->pg, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 1);
    assert_ok(sb_pg_begin(f->pg, &f->err), &f->err);
    assert_code(SB_CONFLICT, insert(f, 1, "x"), &f->err);
    assert_code(SB_INTERNAL, sb_pg_commit(f->pg, &f->err), &f->err); /* was rolled back, and says so */
    assert_ok(insert(f, 2, "x"), &f->err);
}

/* ---- batches ---- */

static void fill_insert(sb_pg_params_t *params, int a)
{
    *params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_int4(params, a);
    sb_pg_add_text(params, "x");
}

static void a_batch_gives_each_result(void **state)
{
    fixture_t *f = *state;
    sb_pg_params_t one, two;
    sb_pg_result_t *results[3];
    sb_pg_batch_t batch = {.count = 0};
    fill_insert(&one, 1);
    fill_insert(&two, 2);
    sb_pg_batch_add(&batch, insert_sql, &one);
    sb_pg_batch_add(&batch, insert_sql, &two);
    sb_pg_batch_add(&batch, count_sql, NULL);
    assert_ok(sb_pg_batch_run(f->pg, &batch, results, NULL, &f->err), &f->err);
    assert_int_equal(sb_pg_affected(results[0]), 1);
    assert_int_equal(sb_pg_get_int(results[2], 0, 0), 2);
    for (int i = 0; i < 3; i++)
        sb_pg_result_free(results[i]);
    fill_insert(&one, 3);
    fill_insert(&two, 4);
    assert_ok(sb_pg_batch_run(f->pg, &batch, NULL, NULL, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 4);
}

static void a_failure_in_the_middle_leaves_nothing(void **state)
{
    fixture_t *f = *state;
    sb_pg_params_t one, two, three;
    sb_pg_result_t *results[3];
    int failed_at = 99;
    sb_pg_batch_t batch = {.count = 0};
    fill_insert(&one, 1);
    fill_insert(&two, 1);
    fill_insert(&three, 3);
    sb_pg_batch_add(&batch, insert_sql, &one);
    sb_pg_batch_add(&batch, insert_sql, &two);
    sb_pg_batch_add(&batch, insert_sql, &three);
    assert_code(SB_CONFLICT, sb_pg_batch_run(f->pg, &batch, results, &failed_at, &f->err), &f->err);
    assert_int_equal(failed_at, 1);
    for (int i = 0; i < 3; i++)
        assert_null(results[i]);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 0);
    fill_insert(&two, 2);
    assert_ok(sb_pg_batch_run(f->pg, &batch, NULL, NULL, &f->err), &f->err); /* the connection is fine */
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 3);
}

static void a_statement_that_cannot_be_prepared_fails_its_batch(void **state)
{
    static const char bad[] = "SELECT * FROM nowhere";
    fixture_t *f = *state;
    sb_pg_params_t one;
    int failed_at = 99;
    sb_pg_batch_t batch = {.count = 0};
    fill_insert(&one, 1);
    sb_pg_batch_add(&batch, insert_sql, &one);
    sb_pg_batch_add(&batch, bad, NULL);
    assert_code(SB_NOT_FOUND, sb_pg_batch_run(f->pg, &batch, NULL, &failed_at, &f->err), &f->err);
    assert_int_equal(failed_at, 1);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 0);
}

/* The commit itself fails: every statement had succeeded. */
static void a_batch_whose_commit_fails_leaves_nothing(void **state)
{
    static const char sql[] = "INSERT INTO child VALUES ($1)";
    fixture_t *f = *state;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *results[2];
    int failed_at = 99;
    sb_test_pg_script(f->pg, "CREATE TABLE child (a int REFERENCES t DEFERRABLE INITIALLY DEFERRED)");
    sb_pg_add_int4(&params, 5);
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_batch_add(&batch, sql, &params);
    sb_pg_batch_add(&batch, count_sql, NULL);
    assert_code(SB_CONFLICT, sb_pg_batch_run(f->pg, &batch, results, &failed_at, &f->err), &f->err);
    assert_string_equal(f->err.origin, "pg:23503");
    assert_null(results[0]);
    assert_null(results[1]);
    assert_ok(insert(f, 5, "x"), &f->err); /* the connection left the pipeline */
    assert_ok(sb_pg_batch_run(f->pg, &batch, NULL, NULL, &f->err), &f->err);
}

/* Megabytes both ways at once must not deadlock the two ends. */
static void a_large_batch_flows(void **state)
{
    static const char echo[] = "SELECT $1::bytea";
    fixture_t *f = *state;
    size_t size = 4u << 20;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    memset(bytes, 'z', size);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *results[8];
    sb_pg_add_bytea(&params, (sb_slice_t){bytes, size});
    sb_pg_batch_t batch = {.count = 0};
    for (int i = 0; i < 8; i++)
        sb_pg_batch_add(&batch, echo, &params);
    assert_ok(sb_pg_batch_run(f->pg, &batch, results, NULL, &f->err), &f->err);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(sb_pg_get_slice(results[i], 0, 0).len, size);
        sb_pg_result_free(results[i]);
    }
    free(bytes);
}

/* ---- broken connections ---- */

/* A connection may be made, and be ended, before the server has noticed that it must restart. */
static bool is_usable_again(fixture_t *f)
{
    if (sb_pg_reopen(f->pg, NULL) != SB_OK)
        return false;
    sb_code_t code = insert(f, 91, "x");
    return code == SB_OK || code == SB_CONFLICT; /* it was done, and its answer was lost */
}

static void assert_usable_after_reopen(fixture_t *f)
{
    assert_false(sb_pg_is_open(f->pg));
    assert_int_equal(sb_pg_socket(f->pg), -1);
    assert_code(SB_UNAVAILABLE, insert(f, 90, "x"), &f->err);
    assert_soon(is_usable_again(f), RECOVERY_MS);
    sb_pg_params_t one;
    sb_pg_batch_t batch = {.count = 0};
    fill_insert(&one, 92);
    sb_pg_batch_add(&batch, insert_sql, &one);
    assert_ok(sb_pg_batch_run(f->pg, &batch, NULL, NULL, &f->err), &f->err);
}

static sb_code_t run_batch_that_dies(fixture_t *f, const char *killer, int *failed_at)
{
    sb_pg_params_t one, two;
    sb_pg_params_t pid = SB_PG_PARAMS_INIT;
    sb_pg_result_t *results[3];
    sb_pg_batch_t batch = {.count = 0};
    fill_insert(&one, 1);
    fill_insert(&two, 2);
    sb_pg_add_int4(&pid, sb_pg_backend_pid(f->pg));
    sb_pg_batch_add(&batch, insert_sql, &one);
    sb_pg_batch_add(&batch, killer, &pid);
    sb_pg_batch_add(&batch, insert_sql, &two);
    sb_code_t code = sb_pg_batch_run(f->pg, &batch, results, failed_at, &f->err);
    for (int i = 0; i < 3; i++)
        assert_null(results[i]);
    return code;
}

/* Until the server has noticed, a new connection is taken, works, and is ended in the midst of the next
 * batch. */
static void await_restart(sb_pg_t **witness)
{
    assert_soon(sb_pg_query(*witness, "SELECT 1", NULL, NULL, NULL) != SB_OK, RECOVERY_MS);
    sb_pg_close(witness);
}

static void a_backend_killed_in_a_batch_leaves_the_outcome_unknown(void **state)
{
    /* as the kernel's OOM killer does it: the server restarts all backends */
    static const char crash[] = "SELECT $1::int4, pg_sleep(0.05), sb_kill($1)";
    fixture_t *f = *state;
    int failed_at = 99;
    sb_test_pg_script(f->pg,
                      "CREATE FUNCTION sb_kill(pid int) RETURNS void LANGUAGE plpgsql AS "
                      "$$ BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pid); END $$");
    sb_pg_t *witness = sb_test_pg_open(f->uri);
    assert_code(SB_UNKNOWN_OUTCOME, run_batch_that_dies(f, crash, &failed_at), &f->err);
    assert_int_equal(failed_at, -1);
    assert_false(f->err.retryable);
    await_restart(&witness);
    assert_usable_after_reopen(f);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 2);
}

static void a_backend_ended_in_a_batch_did_not_commit(void **state)
{
    static const char end[] = "SELECT pg_terminate_backend($1), pg_sleep(10)";
    fixture_t *f = *state;
    int failed_at = 99;
    assert_code(SB_UNAVAILABLE, run_batch_that_dies(f, end, &failed_at), &f->err);
    assert_string_equal(f->err.origin, "pg:57P01");
    assert_true(f->err.retryable); /* the server said so: nothing was committed */
    assert_usable_after_reopen(f);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 2);
}

static void a_server_gone_between_calls_is_unknown_or_unavailable(void **state)
{
    fixture_t *f = *state;
    assert_ok(insert(f, 1, "x"), &f->err); /* prepared: the next one goes out unanswered */
    sb_test_pg_stop_immediate();
    sb_code_t code = insert(f, 2, "x");
    assert_true(code == SB_UNKNOWN_OUTCOME || code == SB_UNAVAILABLE);
    assert_false(sb_pg_is_open(f->pg));
    assert_code(SB_UNAVAILABLE, sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_code(SB_UNAVAILABLE, insert(f, 2, "x"), &f->err);
    sb_test_pg_restart();
    assert_usable_after_reopen(f);
}

static void killed_servers_come_back_with_what_was_committed(void **state)
{
    fixture_t *f = *state;
    assert_ok(insert(f, 1, "x"), &f->err);
    sb_test_pg_kill_all();
    sb_test_pg_restart();
    assert_soon(sb_pg_reopen(f->pg, NULL) == SB_OK, RECOVERY_MS);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 1);
    sb_test_pg_kill_postmaster();
    sb_test_pg_restart();
    assert_soon(sb_pg_reopen(f->pg, NULL) == SB_OK, RECOVERY_MS);
    assert_int_equal(sb_test_pg_int(f->pg, count_sql), 1);
}

static void a_commit_without_an_answer_is_unknown(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_pg_begin(f->pg, &f->err), &f->err);
    assert_ok(insert(f, 1, "x"), &f->err);
    (void)shutdown(sb_pg_socket(f->pg), SHUT_RD); /* the answer is lost, the COMMIT arrives */
    assert_code(SB_UNKNOWN_OUTCOME, sb_pg_commit(f->pg, &f->err), &f->err);
    assert_soon(sb_pg_reopen(f->pg, NULL) == SB_OK, 5000);
    assert_soon(sb_test_pg_int(f->pg, count_sql) == 1, 5000); /* and here it did happen */
}

static void a_script_without_an_answer_is_unknown(void **state)
{
    fixture_t *f = *state;
    (void)shutdown(sb_pg_socket(f->pg), SHUT_RD);
    assert_code(SB_UNKNOWN_OUTCOME, sb_pg_script(f->pg, "INSERT INTO t VALUES (1, 'x')", &f->err), &f->err);
    assert_soon(sb_pg_reopen(f->pg, NULL) == SB_OK, 5000);
    (void)shutdown(sb_pg_socket(f->pg), SHUT_RD);
    assert_code(SB_UNAVAILABLE, sb_pg_begin(f->pg, &f->err), &f->err); /* nothing can have been committed */
}

/* ---- COPY ---- */

typedef struct sum {
    int rows;
    int64_t total;
    int nulls;
    int stop_after;
} sum_t;

static sb_code_t add_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    sum_t *sum = context;
    assert_int_equal(count, 3);
    if (sum->stop_after && sum->rows == sum->stop_after)
        return sb_fail(err, SB_STOPPED, "enough");
    sum->rows++;
    sum->total += sb_pg_read_int(fields[0]);
    sum->nulls += fields[1].ptr == NULL;
    assert_true(sb_pg_read_time(fields[2]) == 1732165175123456);
    return SB_OK;
}

static void copy_goes_both_ways(void **state)
{
    fixture_t *f = *state;
    int64_t count = 0;
    sb_buf_t rows = SB_BUF_INIT;
    sum_t sum = {0};
    sb_test_pg_script(f->pg, "CREATE TABLE c (n int8, x bytea, at timestamptz, b bool, i int4)");
    assert_ok(sb_pg_copy_in_start(f->pg, "COPY c FROM STDIN (FORMAT BINARY)", &f->err), &f->err);
    for (int i = 0; i < 10000; i++) {
        sb_pg_copy_row(&rows, 5);
        sb_pg_copy_int8(&rows, i);
        sb_pg_copy_bytes(&rows, i % 10 ? SB_SLICE("some bytes") : SB_SLICE_NONE);
        sb_pg_copy_time(&rows, 1732165175123456);
        sb_pg_copy_bool(&rows, true);
        sb_pg_copy_int4(&rows, -1);
        if (i % 1000 == 999)
            assert_ok(sb_pg_copy_in_send(f->pg, &rows, &f->err), &f->err);
    }
    assert_int_equal(rows.len, 0);
    assert_ok(sb_pg_copy_in_end(f->pg, &count, &f->err), &f->err);
    assert_int_equal(count, 10000);
    assert_ok(sb_pg_copy_out(f->pg, "COPY (SELECT n, x, at FROM c) TO STDOUT (FORMAT BINARY)", add_row, &sum,
                             &f->err),
              &f->err);
    assert_int_equal(sum.rows, 10000);
    assert_int_equal(sum.total, 49995000);
    assert_int_equal(sum.nulls, 1000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM c WHERE b AND i = -1"), 10000);
    sb_buf_fini(&rows);
}

static void copy_of_nothing(void **state)
{
    fixture_t *f = *state;
    sum_t sum = {0};
    int64_t count = 99;
    assert_ok(sb_pg_copy_out(f->pg, "COPY (SELECT 1 WHERE false) TO STDOUT (FORMAT BINARY)", add_row, &sum,
                             &f->err),
              &f->err);
    assert_int_equal(sum.rows, 0);
    assert_ok(sb_pg_copy_in_start(f->pg, "COPY t FROM STDIN (FORMAT BINARY)", &f->err), &f->err);
    assert_ok(sb_pg_copy_in_end(f->pg, &count, &f->err), &f->err);
    assert_int_equal(count, 0);
}

static void a_copy_that_is_stopped_leaves_the_connection_usable(void **state)
{
    fixture_t *f = *state;
    sum_t sum = {.stop_after = 10};
    assert_code(SB_STOPPED,
                sb_pg_copy_out(f->pg,
                               "COPY (SELECT g, 'x', to_timestamp(1732165175.123456) FROM generate_series(1, "
                               "3000000) g) TO STDOUT (FORMAT BINARY)",
                               add_row, &sum, &f->err),
                &f->err);
    assert_string_equal(f->err.message, "enough");
    assert_int_equal(sum.rows, 10);
    assert_ok(insert(f, 1, "x"), &f->err);
}

static void a_copy_that_fails_says_why(void **state)
{
    fixture_t *f = *state;
    sum_t sum = {0};
    sb_buf_t rows = SB_BUF_INIT;
    assert_code(SB_NOT_FOUND,
                sb_pg_copy_out(f->pg, "COPY nowhere TO STDOUT (FORMAT BINARY)", add_row, &sum, &f->err),
                &f->err);
    assert_code(SB_INVALID,
                sb_pg_copy_out(f->pg,
                               "COPY (SELECT 1/(g-2), 'x', to_timestamp(1732165175.123456) FROM "
                               "generate_series(1, 9) g) TO STDOUT (FORMAT BINARY)",
                               add_row, &sum, &f->err),
                &f->err);
    assert_ok(sb_pg_copy_in_start(f->pg, "COPY t FROM STDIN (FORMAT BINARY)", &f->err), &f->err);
    for (int i = 0; i < 2; i++) {
        sb_pg_copy_row(&rows, 2);
        sb_pg_copy_int4(&rows, 7);
        sb_pg_copy_bytes(&rows, SB_SLICE("x"));
    }
    assert_ok(sb_pg_copy_in_send(f->pg, &rows, &f->err), &f->err);
    assert_code(SB_CONFLICT, sb_pg_copy_in_end(f->pg, NULL, &f->err), &f->err);
    assert_ok(insert(f, 7, "x"), &f->err);
    sb_buf_fini(&rows);
}

static void names_are_quoted(void **state)
{
    (void)state;
    sb_buf_t buf = SB_BUF_INIT;
    sb_pg_quote_name(&buf, SB_SLICE("a\"b"));
    assert_string_equal(sb_buf_text(&buf), "\"a\"\"b\"");
    sb_buf_fini(&buf);
}

static void assert_wanted(const char *uri, bool standby_will_do, const char *want)
{
    sb_pg_t *pg = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_config_t config = {.uri = uri, .standby_will_do = standby_will_do};
    assert_ok(sb_pg_open(&pg, &config, &err), &err);
    PQconninfoOption *list = PQconninfo(sb_pg_raw(pg));
    assert_non_null(list);
    for (PQconninfoOption *at = list; at->keyword; at++)
        if (strcmp(at->keyword, "target_session_attrs") == 0)
            assert_string_equal(at->val, want);
    PQconninfoFree(list);
    sb_pg_close(&pg);
}

/* A standby takes no writes, and shows what was told as safe only later. */
static void of_several_hosts_the_primary_is_taken(void **state)
{
    fixture_t *f = *state;
    char two[3 * SB_TEST_URI], said[3 * SB_TEST_URI + 64];
    const char *host = strstr(f->uri, "host="), *end = host + strcspn(host, " ");
    (void)snprintf(two, sizeof two, "%.*s,%.*s%s", (int)(end - f->uri), f->uri, (int)(end - host - 5),
                   host + 5, end);
    (void)snprintf(said, sizeof said, "%s target_session_attrs=read-write", two);
    assert_wanted(f->uri, false, "any");
    assert_wanted(two, false, PQlibVersion() >= 140000 ? "primary" : "read-write");
    assert_wanted(two, true, "any");
    assert_wanted(said, false, "read-write");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(of_several_hosts_the_primary_is_taken),
        CASE(values_of_each_type_come_back),
        CASE(arrays_of_each_type_arrive),
        CASE(an_empty_array_is_not_null),
        CASE(settings_of_the_uri_stay),
        CASE(a_server_that_is_not_there_is_named),
        CASE(statements_are_prepared_again_after_reopen),
        CASE(a_text_may_be_freed_once_it_is_forgotten),
        CASE(many_statements_fit_the_cache),
        CASE(errors_carry_their_state),
        CASE(a_transaction_ends_as_told),
        CASE(a_batch_gives_each_result),
        CASE(a_failure_in_the_middle_leaves_nothing),
        CASE(a_statement_that_cannot_be_prepared_fails_its_batch),
        CASE(a_batch_whose_commit_fails_leaves_nothing),
        CASE(a_large_batch_flows),
        CASE(a_backend_killed_in_a_batch_leaves_the_outcome_unknown),
        CASE(a_backend_ended_in_a_batch_did_not_commit),
        CASE(a_server_gone_between_calls_is_unknown_or_unavailable),
        CASE(killed_servers_come_back_with_what_was_committed),
        CASE(a_commit_without_an_answer_is_unknown),
        CASE(a_script_without_an_answer_is_unknown),
        CASE(copy_goes_both_ways),
        CASE(copy_of_nothing),
        CASE(a_copy_that_is_stopped_leaves_the_connection_usable),
        CASE(a_copy_that_fails_says_why),
        CASE(names_are_quoted),
    };
    return cmocka_run_group_tests_name("pg", tests, sb_test_pg_start, sb_test_pg_stop);
}
