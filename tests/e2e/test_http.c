/* payment over HTTP, in Python, which asks a third service within its step: orders over kills of both are
 * paid once or not at all, and the state of the participant is told.
 *
 * SB_TEST_PYTHON_PATH is where psycopg and confluent-kafka are (./dev test fetches them).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"
#include "tests/support/port.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAYMENT 2
#define ORDERS  12
#define SECRET  "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static sb_stack_t stack;
static sb_test_process_t credit;
static char env_python[512], env_url[128], env_port[32], env_credit_url[64], env_credit_port[32];
static const char *payment_environment[20], *credit_environment[8];

static void start_payment(void)
{
    static const char *const argv[] = {"python3", SB_EXAMPLES "/python/payment_http.py", NULL};
    sb_test_spawn(&stack.participant[PAYMENT], argv, payment_environment, NULL);
}

static void start_credit(void)
{
    static const char *const argv[] = {"python3", SB_EXAMPLES "/python/credit.py", NULL};
    sb_test_spawn(&credit, argv, credit_environment, NULL);
}

static void kill_process(sb_test_process_t *process)
{
    sb_test_signal(process, SIGKILL);
    assert_true(sb_test_wait(process, 60000));
    sb_test_process_end(process);
}

static void set_environments(void)
{
    const char *python = getenv("SB_TEST_PYTHON_PATH");
    int port = sb_test_port(), credit_port = sb_test_port();
    size_t n = 0;
    (void)snprintf(env_python, sizeof env_python, "PYTHONPATH=%s", python);
    (void)snprintf(env_url, sizeof env_url, "SAGABUS_PARTICIPANT_PAYMENT_URL=http://127.0.0.1:%d/commands",
                   port);
    (void)snprintf(env_port, sizeof env_port, "PORT=%d", port);
    (void)snprintf(env_credit_url, sizeof env_credit_url, "CREDIT_URL=http://127.0.0.1:%d/", credit_port);
    (void)snprintf(env_credit_port, sizeof env_credit_port, "PORT=%d", credit_port);
    for (; stack.environment[n]; n++)
        payment_environment[n] = stack.environment[n];
    payment_environment[n++] = env_python;
    payment_environment[n++] = env_port;
    payment_environment[n++] = env_credit_url;
    payment_environment[n++] = "SECRET=" SECRET;
    payment_environment[n++] = "PYTHONDONTWRITEBYTECODE=1";
    const char *of_credit[] = {env_python, env_credit_port, "LIMIT=3000", "PYTHONDONTWRITEBYTECODE=1", NULL};
    memcpy(credit_environment, of_credit, sizeof of_credit);
    sb_stack_set(&stack, env_url);
    sb_stack_set(&stack, "SAGABUS_PARTICIPANT_PAYMENT_SECRET=" SECRET);
    sb_stack_set(&stack, "SAGABUS_PARTICIPANT_PAYMENT_BREAKER_RECOVERY_MS=500ms");
}

static int set_up(void **state)
{
    const char *python = getenv("SB_TEST_PYTHON_PATH");
    if (!python || !python[0])
        sb_test_skip("python", "no psycopg: SB_TEST_PYTHON_PATH is not set");
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    set_environments();
    stack.elsewhere[PAYMENT] = true;
    start_credit();
    start_payment();
    sb_stack_start_participants(&stack);
    sb_stack_start_serve(&stack);
    sb_stack_await_ready(&stack, 30000);
    return 0;
}

static int tear_down(void **state)
{
    sb_test_process_end(&credit);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

/* grace has 500; the limit of credit is 3000. */
static void start_order(int i, const char *wait, sb_http_answer_t *answer)
{
    char order[32];
    (void)snprintf(order, sizeof order, "h-%d", i);
    *answer =
        sb_order_start(&stack, order, i % 4 == 1 ? "grace" : "ada", "book", i % 4 == 2 ? 5000 : 1000, wait);
    assert_true(answer->status == 201 || answer->status == 202 || answer->status == 200);
}

static void place(int i)
{
    sb_http_answer_t answer;
    start_order(i, NULL, &answer);
    sb_http_free(&answer);
}

static int64_t ended(const char *status)
{
    char sql[160];
    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NOT NULL AND status = %s", status);
    return sb_test_pg_int(stack.pg, sql);
}

static void orders_are_paid_once_or_not_at_all(void **state)
{
    (void)state;
    for (int i = 0; i < ORDERS; i++) {
        if (i == 4)
            kill_process(&stack.participant[PAYMENT]);
        if (i == 6)
            start_payment();
        if (i == 8)
            kill_process(&credit);
        place(i);
    }
    start_credit();
    assert_soon(ended("2") + ended("4") == ORDERS, 60000);
    /* A quarter has no money, a quarter no credit. */
    assert_int_equal(ended("2"), ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM payment.payment WHERE NOT refunded"),
                     ORDERS / 2);
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT ((SELECT sum(balance) FROM payment.account) + (SELECT coalesce(sum(amount), "
                       "0) FROM payment.payment WHERE NOT refunded))::bigint"),
        300000500);
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT count(*) FROM (SELECT 1 FROM payment.effect GROUP BY command_id HAVING "
                       "count(*) > 1) twice"),
        0);
    assert_int_equal(sb_test_pg_int(stack.pg,
                                    "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING "
                                    "(type_no) WHERE t.name = 'payment.charged'"),
                     ORDERS / 2);
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT count(*) FROM sagabus.event WHERE convert_from(data, 'UTF8') LIKE "
                       "'%\"saga.step.failed\"%' OR convert_from(data, 'UTF8') LIKE '%has no credit%'"),
        ORDERS / 4);
    assert_true(sb_test_output_has(&credit, "s are left", 30000)); /* the deadline was passed on */
}

static void the_state_of_the_participant_is_told(void **state)
{
    (void)state;
    char *text = NULL;
    const char *const list[] = {"participant", "list", "-o", "json", NULL};
    assert_int_equal(sb_stack_ask(&stack, list, false, &text), 0);
    assert_contains(text, "\"payment\"");
    assert_contains(text, "\"http\"");
    assert_contains(text, "/commands");
    assert_null(strstr(text, "whsec"));
    free(text);
    const char *const table[] = {"participant", "list", NULL};
    assert_int_equal(sb_stack_ask(&stack, table, false, &text), 0);
    assert_contains(text, "inventory");
    free(text);
    sb_http_answer_t answer = sb_http("GET", stack.url, "/metrics", NULL, NULL);
    assert_contains(answer.text,
                    "sagabus_participant_replies_total{participant=\"payment\",outcome=\"success\"} ");
    static const char seconds[] = "sagabus_participant_answer_seconds{participant=\"payment\"} ";
    assert_contains(answer.text, seconds);
    assert_true(strtod(strstr(answer.text, seconds) + strlen(seconds), NULL) > 0);
    assert_contains(answer.text, "sagabus_participant_commands_total{participant=\"inventory\"} ");
    sb_http_free(&answer);
}

static bool is_told(const char *const *arguments, const char *part)
{
    char *text = NULL;
    bool is = sb_stack_ask(&stack, arguments, false, &text) == 0 && strstr(text, part);
    free(text);
    return is;
}

/* Before that the saga itself knows of nothing that went wrong: its command was not sent. */
static void what_keeps_a_saga_waiting_is_told_while_its_participant_is_held_off(void **state)
{
    (void)state;
    kill_process(&stack.participant[PAYMENT]);
    for (int i = 200; i <= 220; i += 4)
        place(i);
    static const char *const explain[] = {"saga", "explain", "order/h-220", NULL};
    assert_soon(is_told(explain, "payment is held off: its circuit breaker is "), 60000);
    start_payment();
    assert_soon(!is_told(explain, "circuit breaker is "), 60000);
    assert_soon(ended("2") + ended("4") == ORDERS + 6, 60000);
}

static void leave_me_alone(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    (void)context;
    (void)request;
    answer->status = 503;
    (void)snprintf(answer->headers, sizeof answer->headers, "Retry-After: 300\r\n");
}

static void who_asked_to_be_left_alone_is_told_and_until_when(void **state)
{
    (void)state;
    static const char *const explain[] = {"saga", "explain", "order/h-240", NULL};
    static const char *const list[] = {"participant", "list", NULL};
    static const char *const items[] = {"participant", "list", "-o", "jsonl", NULL};
    char today[SB_TIME_TEXT];
    (void)sb_time_format(sb_wall_us() + INT64_C(300000000), today);
    today[10] = '\0';
    assert_false(is_told(list, "retry_after"));
    kill_process(&stack.participant[PAYMENT]);
    sb_peer_t *peer = sb_peer_start(atoi(env_port + strlen("PORT=")), leave_me_alone, NULL);
    place(240);
    assert_soon(
        is_told(explain, "payment is held off: it asked to be left alone (Retry-After), a try follows in "),
        60000);
    assert_true(is_told(list, "HELD BY"));
    assert_true(is_told(list, "retry_after"));
    assert_true(is_told(list, today));
    assert_true(is_told(items, "\"held_by\":\"retry_after\",\"held_until\":\"2"));
    sb_peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_are_paid_once_or_not_at_all),
        cmocka_unit_test(the_state_of_the_participant_is_told),
        cmocka_unit_test(what_keeps_a_saga_waiting_is_told_while_its_participant_is_held_off),
        cmocka_unit_test(who_asked_to_be_left_alone_is_told_and_until_when),
    };
    return cmocka_run_group_tests_name("http", tests, set_up, tear_down);
}
