/* PostgreSQL or Kafka is away, at the start or later: /livez stays 200, /readyz says which, serve comes back
 * by itself, and what was accepted is not lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/load.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORDERS 60

static sb_stack_t stack;
static sb_load_t *load;
static bool kafka_is_dead, postgres_is_dead;

static void stop_kafka(void)
{
    kafka_is_dead = true;
    sb_test_kafka_control("kill");
}

static void start_kafka(void)
{
    sb_test_kafka_control("start");
    kafka_is_dead = false;
}

static void restart_postgres(void)
{
    sb_test_pg_restart();
    postgres_is_dead = false;
    sb_stack_look_again(&stack);
}

/* After each test, so that one that fails does not take the next with it. */
static int heal(void **state)
{
    (void)state;
    if (postgres_is_dead)
        restart_postgres();
    if (kafka_is_dead)
        start_kafka();
    sb_load_free(&load);
    if (!stack.serve.pid)
        sb_stack_start_serve(&stack);
    return 0;
}

static int set_up(void **state)
{
    if (!sb_test_kafka_has_control())
        sb_test_skip("kafka", "the broker cannot be controlled: SB_TEST_KAFKA_CTL is not set");
    (void)sb_test_pg_start(state);
    sb_stack_start(&stack);
    return 0;
}

static int tear_down(void **state)
{
    sb_load_free(&load);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static bool is_alive(void)
{
    sb_http_answer_t answer = sb_http("GET", stack.url, "/livez", NULL, NULL);
    bool alive = answer.status == 200;
    sb_http_free(&answer);
    return alive;
}

static int status_of_event(const char *key)
{
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"type\":\"order.shipped\",\"subject\":\"%s\",\"data\":{\"order_id\":\"%s\","
                   "\"customer_id\":\"ada\"}}",
                   key, key);
    sb_http_answer_t answer = sb_http("POST", stack.url, "/v1/events", body, NULL);
    int status = answer.status;
    sb_http_free(&answer);
    return status;
}

/* ---- Kafka ---- */

static void kafka_dies(void)
{
    stop_kafka();
    assert_soon(sb_stack_is_missing(&stack, "kafka"), 15000);
    assert_false(sb_stack_is_missing(&stack, "postgres"));
    assert_true(is_alive());
}

static void what_is_accepted_while_kafka_is_dead_is_done_when_it_is_back(void **state)
{
    (void)state;
    kafka_dies();
    load = sb_load_start("dark", stack.url, NULL, 20);
    sb_load_await(load, ORDERS, 20000);
    for (int i = 0; i < ORDERS; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "ship-%d", i);
        assert_int_equal(status_of_event(key), 201);
    }
    assert_true(sb_stack_open_sagas(&stack) >= ORDERS); /* nobody can have been told to do anything */
    sb_load_stop(load, 5000);
    start_kafka();
    sb_stack_await_ready(&stack, 30000);
    sb_load_check(load, &stack, 60000);
    sb_load_free(&load);
    const char *const subscribe[] = {
        "subscribe", "order.shipped", "--group", "after-the-dark", "--limit", "60", "-q", NULL};
    assert_int_equal(sb_stack_sagabus(&stack, subscribe), 0);
}

/* ---- PostgreSQL ---- */

static void postgres_is_lost(void (*accident)(void))
{
    load = sb_load_start(accident == sb_test_pg_kill_all         ? "power"
                         : accident == sb_test_pg_stop_immediate ? "immediate"
                                                                 : "postmaster",
                         stack.url, NULL, 20);
    sb_load_await(load, 30, 20000);
    postgres_is_dead = true;
    accident();
    assert_soon(sb_stack_is_missing(&stack, "postgres"), 15000);
    assert_true(is_alive());
    restart_postgres();
    sb_load_await(load, 30, 30000);
    sb_stack_await_ready(&stack, 30000);
    sb_load_stop(load, 20000);
    sb_load_check(load, &stack, 60000);
    sb_load_free(&load);
}

static void postgres_loses_its_power_under_load(void **state)
{
    (void)state;
    postgres_is_lost(sb_test_pg_kill_all);
}

static void postgres_is_stopped_at_once_under_load(void **state)
{
    (void)state;
    postgres_is_lost(sb_test_pg_stop_immediate);
}

static void the_postmaster_is_killed_under_load(void **state)
{
    (void)state;
    postgres_is_lost(sb_test_pg_kill_postmaster);
}

/* ---- at the start ---- */

static void serve_starts_with_neither_and_waits_for_both(void **state)
{
    (void)state;
    sb_test_signal(&stack.serve, SIGTERM);
    assert_true(sb_test_wait(&stack.serve, 60000));
    assert_int_equal(stack.serve.exit_code, 0);
    sb_test_process_end(&stack.serve);

    postgres_is_dead = true;
    sb_test_pg_stop_immediate();
    stop_kafka();
    sb_stack_start_serve(&stack);
    assert_soon(is_alive(), 10000);
    assert_soon(sb_stack_is_missing(&stack, "postgres"), 10000);

    restart_postgres();
    assert_soon(sb_stack_is_missing(&stack, "kafka"), 15000);
    assert_false(sb_stack_is_missing(&stack, "postgres"));
    load = sb_load_start("early", stack.url, NULL, 20);
    sb_load_await(load, ORDERS, 20000);
    sb_load_stop(load, 10000);

    start_kafka();
    sb_stack_await_ready(&stack, 40000);
    sb_load_check(load, &stack, 60000);
    sb_load_free(&load);
}

/* A serve of its own over that database must end, and say these two things. */
static void assert_refused(const char *uri, const char *has, const char *needs)
{
    sb_stack_t other = stack;
    sb_test_process_t process = {0};
    char url[64];
    (void)snprintf(other.env_pg, sizeof other.env_pg, "SAGABUS_PG=%s", uri);
    other.environment[0] = other.env_pg;
    sb_stack_second_serve(&other, &process, url);
    assert_true(sb_test_wait(&process, 60000));
    assert_int_not_equal(process.exit_code, 0);
    char *output = sb_test_output(&process);
    assert_contains(output, has);
    assert_contains(output, needs);
    free(output);
    sb_test_process_end(&process);
}

static void a_schema_outside_the_range_is_refused_naming_both(void **state)
{
    (void)state;
    char uri[SB_TEST_URI];
    (void)sb_test_pg_empty(uri);
    assert_refused(uri, "is at no migration", "this binary needs 00");
    (void)sb_test_pg_fresh(uri);
    sb_pg_t *pg = sb_test_pg_open(uri);
    sb_test_pg_script(
        pg, "INSERT INTO sagabus.migration (name, hash) VALUES ('9999_future_needs_9999', '\\x00')");
    sb_pg_close(&pg);
    assert_refused(uri, "has migration 9999_future_needs_9999", "a binary that knows only up to 00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_is_accepted_while_kafka_is_dead_is_done_when_it_is_back, heal),
        cmocka_unit_test_teardown(postgres_loses_its_power_under_load, heal),
        cmocka_unit_test_teardown(postgres_is_stopped_at_once_under_load, heal),
        cmocka_unit_test_teardown(the_postmaster_is_killed_under_load, heal),
        cmocka_unit_test_teardown(serve_starts_with_neither_and_waits_for_both, heal),
        cmocka_unit_test_teardown(a_schema_outside_the_range_is_refused_naming_both, heal),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("away", tests, set_up, tear_down);
}
