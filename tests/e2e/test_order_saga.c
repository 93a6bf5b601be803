/* The whole demo as a test: an order that succeeds, orders that undo themselves, a key that is used twice, a
 * read model that comes back from a replay.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sb_stack_t stack;

static int set_up(void **state)
{
    (void)sb_test_pg_start(state);
    sb_stack_start(&stack);
    return 0;
}

static int tear_down(void **state)
{
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static const char *text_at(const json_t *body, const char *name)
{
    const char *text = json_string_value(json_object_get(body, name));
    return text ? text : "";
}

/* The saga's history as "type:step type:step …". */
static void history_of(const json_t *saga, char *out, size_t cap)
{
    size_t i, at = 0;
    json_t *entry;
    out[0] = '\0';
    json_array_foreach(json_object_get(saga, "history"), i, entry)
    {
        int n =
            snprintf(out + at, cap - at, "%s%s%s%s", i ? " " : "", text_at(entry, "type") + strlen("saga."),
                     text_at(entry, "step")[0] ? ":" : "", text_at(entry, "step"));
        at += (size_t)n;
    }
}

static void assert_saga(const char *order, const char *customer, const char *sku, int amount,
                        const char *status, const char *history)
{
    char found[2048];
    sb_http_answer_t answer = sb_order_start(&stack, order, customer, sku, amount, "30s");
    if (answer.status != 200 && answer.status != 201)
        fail_msg("%d %s", answer.status, answer.text ? answer.text : "");
    char path[128];
    (void)snprintf(path, sizeof path, "/v1/sagas/%s", text_at(answer.body, "id"));
    sb_http_free(&answer);
    answer = sb_http("GET", stack.url, path, NULL, NULL);
    assert_int_equal(answer.status, 200);
    history_of(answer.body, found, sizeof found);
    assert_string_equal(text_at(answer.body, "status"), status);
    assert_string_equal(found, history);
    sb_http_free(&answer);
}

static void an_order_completes(void **state)
{
    (void)state;
    assert_saga("o-good", "ada", "book", 1999, "completed",
                "started step.completed:validate_customer step.completed:reserve_inventory "
                "step.completed:charge_payment step.completed:create_order step.completed:send_confirmation "
                "completed");
}

static void a_blocked_customer_is_refused_and_nothing_is_undone(void **state)
{
    (void)state;
    assert_saga("o-blocked", "mallory", "book", 1999, "compensated",
                "started step.failed:validate_customer compensated");
}

static void a_payment_that_is_refused_gives_the_stock_back(void **state)
{
    (void)state;
    assert_saga("o-poor", "grace", "book", 1999, "compensated",
                "started step.completed:validate_customer step.completed:reserve_inventory "
                "step.failed:charge_payment "
                "step.compensated:reserve_inventory compensated");
}

static void the_last_step_failing_undoes_all_in_reverse(void **state)
{
    (void)state;
    assert_saga(
        "o-unreachable", "alan", "book", 1999, "compensated",
        "started step.completed:validate_customer step.completed:reserve_inventory "
        "step.completed:charge_payment step.completed:create_order step.failed:send_confirmation "
        "step.compensated:create_order step.compensated:charge_payment step.compensated:reserve_inventory "
        "compensated");
}

static void one_key_is_one_saga(void **state)
{
    (void)state;
    sb_http_answer_t first = sb_order_start(&stack, "o-twice", "ada", "lamp", 500, "30s");
    sb_http_answer_t again = sb_order_start(&stack, "o-twice", "ada", "lamp", 500, NULL);
    sb_http_answer_t other = sb_order_start(&stack, "o-twice", "ada", "lamp", 501, NULL);
    assert_int_equal(again.status, 200);
    assert_string_equal(text_at(first.body, "id"), text_at(again.body, "id"));
    assert_int_equal(other.status, 422);
    assert_string_equal(text_at(other.body, "code"), "mismatch");
    sb_http_free(&first);
    sb_http_free(&again);
    sb_http_free(&other);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga WHERE key = 'o-twice'"), 1);
}

static bool summary_is(const char *order, const char *status)
{
    char path[128];
    (void)snprintf(path, sizeof path, "/v1/views/order_summary/%s", order);
    sb_http_answer_t answer = sb_http("GET", stack.url, path, NULL, NULL);
    bool is = answer.status == 200 && strcmp(text_at(answer.body, "status"), status) == 0;
    sb_http_free(&answer);
    return is;
}

static void the_read_model_follows_and_comes_back_from_a_replay(void **state)
{
    (void)state;
    assert_soon(summary_is("o-good", "confirmed"), 10000);
    assert_soon(summary_is("o-unreachable", "cancelled"), 10000);
    assert_soon(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus_view.order_summary") == 3, 10000);
    sb_test_pg_script(stack.pg, "CREATE TABLE before AS SELECT * FROM sagabus_view.order_summary");
    const char *const replay[] = {"replay", "order_summary", NULL};
    assert_int_equal(sb_stack_sagabus(&stack, replay), 0);
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT count(*) FROM ((TABLE before EXCEPT TABLE sagabus_view.order_summary) "
                       "UNION ALL (TABLE sagabus_view.order_summary EXCEPT TABLE before)) x"),
        0);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus_view.order_summary"), 3);
}

static void stock_and_money_are_conserved(void **state)
{
    (void)state;
    assert_int_equal(sb_stack_open_sagas(&stack), 0);
    sb_stack_check_conserved(&stack);
}

static bool row_is(const char *query)
{
    return sb_test_pg_int(stack.pg, query) == 1;
}

/* The order left the house while its saga was still under way: the rules of the order refuse the undo,
 * whoever asks, and that is for an operator to settle. */
static void an_order_that_was_shipped_is_not_cancelled(void **state)
{
    (void)state;
    const char *const ship[] = {"event",
                                "append",
                                "order.shipped",
                                "--key",
                                "o-shipped",
                                "--data",
                                "{\"order_id\":\"o-shipped\",\"customer_id\":\"alan\",\"parcel\":{}}",
                                NULL};
    const char *const resolve[] = {"saga",     "resolve",          "order/o-shipped",
                                   "--reason", "it is on its way", NULL};
    sb_test_signal(&stack.participant[SB_STACK_PARTICIPANTS - 1], SIGSTOP);
    sb_http_answer_t answer = sb_order_start(&stack, "o-shipped", "alan", "book", 1999, NULL);
    assert_int_equal(answer.status, 201);
    sb_http_free(&answer);
    assert_soon(row_is("SELECT count(*) FROM orders.orders WHERE order_id = 'o-shipped'"), 30000);
    assert_int_equal(sb_stack_sagabus(&stack, ship), 0);
    sb_stack_kill_participant(&stack, SB_STACK_PARTICIPANTS - 1); /* and started again */
    assert_soon(
        row_is("SELECT count(*) FROM sagabus.saga WHERE key = 'o-shipped' AND attention AND error LIKE "
               "'%order o-shipped is shipped: it cannot be cancelled%'"),
        60000);
    assert_true(row_is("SELECT count(*) FROM orders.orders WHERE order_id = 'o-shipped' AND status = "
                       "'confirmed'"));
    assert_int_equal(sb_stack_sagabus(&stack, resolve), 0);
    assert_soon(row_is("SELECT count(*) FROM sagabus.saga WHERE key = 'o-shipped' AND status = 5"), 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_completes),
        cmocka_unit_test(a_blocked_customer_is_refused_and_nothing_is_undone),
        cmocka_unit_test(a_payment_that_is_refused_gives_the_stock_back),
        cmocka_unit_test(the_last_step_failing_undoes_all_in_reverse),
        cmocka_unit_test(one_key_is_one_saga),
        cmocka_unit_test(the_read_model_follows_and_comes_back_from_a_replay),
        cmocka_unit_test(stock_and_money_are_conserved),
        cmocka_unit_test(an_order_that_was_shipped_is_not_cancelled),
    };
    return cmocka_run_group_tests_name("order saga", tests, set_up, tear_down);
}
