/* Two `serve` on one database: one drives, the other takes over when it dies, stands still, or leaves; what
 * the old one still does afterwards is in vain.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/load.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVERDUE_MS 2000

static sb_stack_t stack;
static sb_load_t *load;
static sb_test_process_t second;
static char second_url[64];

static bool is_driven_by(const sb_test_process_t *process)
{
    char like[64];
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *found = NULL;
    (void)snprintf(like, sizeof like, "%%:%d:%%", (int)process->pid); /* host:pid:random */
    sb_pg_add_text(&params, like);
    assert_ok(sb_pg_query(stack.pg, "SELECT 1 FROM sagabus.lease WHERE role = 'saga:0' AND owner LIKE $1",
                          &params, &found, &err),
              &err);
    bool is = sb_pg_rows(found) == 1;
    sb_pg_result_free(found);
    return is;
}

static int64_t epoch(void)
{
    return sb_test_pg_int(stack.pg, "SELECT epoch FROM sagabus.lease WHERE role = 'saga:0'");
}

static bool is_live(const char *url)
{
    sb_http_answer_t answer = sb_http("GET", url, "/livez", NULL, NULL);
    bool live = answer.status == 200;
    sb_http_free(&answer);
    return live;
}

/* Ready, or it says that it is not the one that drives. */
static bool is_ready_or_spare(const char *url)
{
    sb_http_answer_t answer = sb_http("GET", url, "/readyz", NULL, NULL);
    bool is = answer.status == 200 ||
              (answer.text && strstr(answer.text, "[-] sagas: no shard yet: another instance drives them"));
    sb_http_free(&answer);
    return is;
}

static int set_up(void **state)
{
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    sb_stack_set(&stack, "SAGABUS_LEASE_OVERDUE_MS=2s");
    sb_stack_start_participants(&stack);
    sb_stack_start_serve(&stack);
    sb_stack_await_ready(&stack, 20000);
    sb_stack_second_serve(&stack, &second, second_url);
    assert_soon(is_live(second_url), 10000);
    assert_soon(is_ready_or_spare(second_url), 20000);
    return 0;
}

static int tear_down(void **state)
{
    sb_load_free(&load);
    sb_test_signal(&second, SIGCONT);
    sb_test_signal(&second, SIGTERM);
    if (second.pid)
        (void)sb_test_wait(&second, 20000);
    sb_test_process_end(&second);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static void make_first_drive(void)
{
    if (!stack.serve.pid)
        sb_stack_start_serve(&stack);
    sb_test_signal(&stack.serve, SIGCONT);
    if (!is_driven_by(&stack.serve)) {
        if (second.pid) {
            sb_test_signal(&second, SIGCONT);
            sb_test_signal(&second, SIGTERM);
            assert_true(sb_test_wait(&second, 60000));
        }
        sb_test_process_end(&second);
        assert_soon(is_driven_by(&stack.serve), 20000);
    }
    if (!second.pid)
        sb_stack_second_serve(&stack, &second, second_url);
    assert_soon(is_ready_or_spare(second_url), 20000);
    assert_soon(is_ready_or_spare(stack.url), 20000);
}

/* The test's first serve drives before each case; the second one is there as well. One that a busy machine
 * keeps from beating loses its lease at any time. */
static int first_drives(void **state)
{
    (void)state;
    int tries = 0;
    do
        make_first_drive();
    while (!is_driven_by(&stack.serve) && ++tries < 20);
    assert_true(tries < 20);
    return 0;
}

static int stop_load(void **state)
{
    (void)state;
    sb_load_free(&load);
    return 0;
}

static void begin(const char *name)
{
    load = sb_load_start(name, stack.url, second_url, 20);
    sb_load_await(load, 30, 20000);
}

static void finish(void)
{
    sb_load_await(load, 30, 30000);
    sb_load_stop(load, 20000);
    sb_load_check(load, &stack, 60000);
    sb_load_free(&load);
}

/* An instance that drives no shard says so, and never starts a saga that nobody would drive. */
static void one_drives_and_the_other_says_that_it_does_not(void **state)
{
    (void)state;
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.lease WHERE role LIKE 'saga:%'"),
                     1);
    const char *spare = is_driven_by(&second) ? stack.url : second_url;
    assert_soon(is_ready_or_spare(spare), 20000);
    char body[256];
    (void)snprintf(body, sizeof body, "{\"type\":\"order\",\"key\":\"spare\",\"input\":%s}",
                   "{\"order_id\":\"spare\",\"customer_id\":\"ada\",\"amount\":5,\"currency\":\"EUR\","
                   "\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":5}]}");
    sb_http_answer_t answer = sb_http("POST", spare, "/v1/sagas", body, NULL);
    int64_t there = sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga WHERE key = 'spare'");
    if (answer.status == 201)
        assert_int_equal(there, 1);
    else
        assert_int_equal(answer.status * 10 + there, 5030);
    sb_http_free(&answer);
    sb_stack_await_ended(&stack, 20000);
}

static void the_other_takes_over_when_the_driver_is_killed(void **state)
{
    (void)state;
    int64_t before = epoch();
    begin("killed");
    sb_stack_kill_serve(&stack);
    assert_soon(is_driven_by(&second), 8000);
    assert_true(epoch() > before);
    finish();
    sb_stack_start_serve(&stack);
}

static void the_other_takes_over_when_the_driver_stands_still(void **state)
{
    (void)state;
    int64_t before = epoch();
    begin("stopped");
    sb_test_signal(&stack.serve, SIGSTOP);
    assert_soon(is_driven_by(&second), OVERDUE_MS + 8000);
    int64_t taken = epoch();
    assert_true(taken > before);
    sb_load_await(load, 30,
                  20000); /* of the second's clients; the others wait for the one that stands still */
    int64_t seen = sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga");
    sb_test_signal(&stack.serve, SIGCONT);
    /* It finds out, writes nothing under its old epoch, and serves on. */
    assert_soon(is_live(stack.url), 10000);
    assert_soon(is_ready_or_spare(stack.url), 20000);
    assert_true(is_driven_by(&second) || epoch() > taken);
    assert_true(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga") >= seen);
    finish();
}

static void a_driver_that_is_told_to_end_hands_over_at_once(void **state)
{
    (void)state;
    begin("leaves");
    int64_t before = sb_test_mono_ms();
    sb_test_signal(&stack.serve, SIGTERM);
    assert_soon(is_driven_by(&second), OVERDUE_MS);
    print_message("handed over within %d ms\n", (int)(sb_test_mono_ms() - before));
    assert_true(sb_test_wait(&stack.serve, 60000));
    assert_int_equal(stack.serve.exit_code, 0);
    sb_test_process_end(&stack.serve);
    finish();
    sb_stack_start_serve(&stack);
}

static void participants_are_killed_in_turn(void **state)
{
    (void)state;
    begin("deaths");
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++) {
        sb_stack_kill_participant(&stack, i);
        sb_load_await(load, 5, 20000);
    }
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_drives_and_the_other_says_that_it_does_not, first_drives,
                                        stop_load),
        cmocka_unit_test_setup_teardown(the_other_takes_over_when_the_driver_is_killed, first_drives,
                                        stop_load),
        cmocka_unit_test_setup_teardown(the_other_takes_over_when_the_driver_stands_still, first_drives,
                                        stop_load),
        cmocka_unit_test_setup_teardown(a_driver_that_is_told_to_end_hands_over_at_once, first_drives,
                                        stop_load),
        cmocka_unit_test_setup_teardown(participants_are_killed_in_turn, first_drives, stop_load),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("two", tests, set_up, tear_down);
}
