/* The order without an orchestrator: two services that hear each other's events, killed in the midst. Every
 * order is settled once, money is conserved, each effect has its event, and the trace goes through.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORDERS 40
#define TRACE  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static sb_stack_t stack;
static sb_test_process_t services[2];

static void start(int i)
{
    static const char *const argv[2][3] = {{SB_CHOREOGRAPHY, "payment", NULL},
                                           {SB_CHOREOGRAPHY, "orders", NULL}};
    sb_test_spawn(&services[i], argv[i], stack.environment, NULL);
}

static int set_up(void **state)
{
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    start(0);
    start(1);
    sb_stack_start_serve(&stack);
    sb_stack_await_ready(&stack, 30000);
    return 0;
}

static int tear_down(void **state)
{
    for (int i = 0; i < 2; i++) {
        sb_test_signal(&services[i], SIGTERM);
        if (!sb_test_wait(&services[i], 20000))
            print_message("a service did not end within 20 s of SIGTERM\n");
        sb_test_process_end(&services[i]);
    }
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static void publish(const char *type, const char *order, const char *data, const char *header)
{
    char body[1024];
    (void)snprintf(body, sizeof body,
                   "{\"type\":\"%s\",\"subject\":\"%s\",\"id\":\"%s-%s\",\"source\":\"/shop\",\"data\":%s}",
                   type, order, type, order, data);
    sb_http_answer_t answer = sb_http("POST", stack.url, "/v1/events", body, header);
    if (answer.status != 201 && answer.status != 200)
        fail_msg("publish %s: %d %s", type, answer.status, answer.text ? answer.text : "");
    sb_http_free(&answer);
}

/* Every second one by grace, who has 500 and wants more. */
static void create(int i)
{
    char order[32];
    (void)snprintf(order, sizeof order, "c-%d", i);
    char *data = sb_order_input(order, i % 2 ? "grace" : "ada", "book", 1, 1000 + i);
    publish("order.created", order, data, i == 1 ? "traceparent: " TRACE : NULL);
    free(data);
}

static void kill_and_restart(int i)
{
    sb_test_signal(&services[i], SIGKILL);
    assert_true(sb_test_wait(&services[i], 60000));
    sb_test_process_end(&services[i]);
    start(i);
}

#define EVENTS(type)                                                                                         \
    "(SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE t.name = '" type  \
    "')"

static void say_what_they_said(void)
{
    for (int i = 0; i < 2; i++) {
        char *output = sb_test_output(&services[i]);
        (void)fprintf(stderr, "--- service %d:\n%s\n", i, output ? output : "");
        free(output);
    }
}

static void await_orders(const char *sql, int64_t count)
{
    int64_t until = sb_test_mono_ms() + sb_test_patience(60000);
    int64_t found = 0;
    while ((found = sb_test_pg_int(stack.pg, sql)) != count && sb_test_mono_ms() < until)
        sb_test_sleep_ms(50);
    if (found != count) {
        say_what_they_said();
        fail_msg("%s: %lld, expected %lld", sql, (long long)found, (long long)count);
    }
}

static void every_order_is_settled_once_over_kills(void **state)
{
    (void)state;
    for (int i = 0; i < ORDERS; i++) {
        create(i);
        if (i == ORDERS / 3)
            kill_and_restart(0);
        if (i == ORDERS / 2)
            kill_and_restart(1);
    }
    await_orders("SELECT count(*) FROM orders.orders WHERE status = 'confirmed' AND customer_id = 'ada'",
                 ORDERS / 2);
    await_orders("SELECT count(*) FROM orders.orders WHERE status = 'cancelled' AND customer_id = 'grace'",
                 ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT " EVENTS("payment.charged")), ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT " EVENTS("payment.refused")), ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT " EVENTS("order.confirmed")), ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT " EVENTS("order.cancelled")), ORDERS / 2);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM payment.payment"), ORDERS / 2);
}

static void a_cancelled_order_gets_its_money_back(void **state)
{
    (void)state;
    publish("order.cancelled", "c-0",
            "{\"order_id\":\"c-0\",\"customer_id\":\"ada\",\"reason\":\"a change of mind\"}", NULL);
    await_orders("SELECT " EVENTS("payment.refunded"), 1);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM payment.payment WHERE refunded"), 1);
    assert_int_equal(
        sb_test_pg_int(stack.pg, "SELECT ((SELECT sum(balance) FROM payment.account) + (SELECT sum(amount) "
                                 "FROM payment.payment WHERE NOT refunded) - 300000500)::bigint"),
        0);
}

/* order.created -> payment.refused -> order.cancelled, each caused by the one before it. */
static void trace_and_cause_go_through(void **state)
{
    (void)state;
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT count(DISTINCT t.name) FROM sagabus.event e JOIN sagabus.event_type t USING "
                       "(type_no) WHERE convert_from(e.meta, 'UTF8') LIKE '%" TRACE "%' AND t.name IN "
                       "('order.created', 'payment.refused', 'order.cancelled')"),
        3);
    assert_int_equal(sb_test_pg_int(stack.pg,
                                    "SELECT count(*) FROM sagabus.event e JOIN sagabus.event c ON "
                                    "convert_from(c.meta, 'UTF8')::json->>'causationid' = e.id::text "
                                    "WHERE convert_from(e.meta, 'UTF8') LIKE '%" TRACE "%'"),
                     2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_order_is_settled_once_over_kills),
        cmocka_unit_test(a_cancelled_order_gets_its_money_back),
        cmocka_unit_test(trace_and_cause_go_through),
    };
    return cmocka_run_group_tests_name("choreography", tests, set_up, tear_down);
}
