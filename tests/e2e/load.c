/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/load.h"

#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS                                                                                          \
    3000 /* then a client hangs up and asks again; what it asked first may be done all the same */

/* Five of eight succeed; the others are refused at the payment, at the last step, or at once. */
static const char *const customers[] = {"ada", "edsger", "ada", "grace", "ada", "alan", "edsger", "mallory"};

/* ---- a client ---- */

static void note_fault(sb_load_t *load, int i, const sb_http_answer_t *answer)
{
    (void)pthread_mutex_lock(&load->lock);
    if (!load->fault[0])
        (void)snprintf(load->fault, sizeof load->fault, "order %s-%d was answered %d %.180s", load->name, i,
                       answer->status, answer->text ? answer->text : "");
    (void)pthread_mutex_unlock(&load->lock);
}

static void note_accepted(sb_load_t *load, int i, const json_t *saga)
{
    sb_load_order_t *order = &load->order[i];
    const char *id = json_string_value(json_object_get(saga, "id"));
    if (order->id[0] && id && strcmp(order->id, id) != 0)
        order->changed = true;
    if (order->id[0] || !id)
        return;
    (void)snprintf(order->id, sizeof order->id, "%s", id);
    order->told_ms = sb_test_mono_ms();
    atomic_fetch_add(&load->accepted, 1);
}

static bool place(sb_load_t *load, int i, const char *url)
{
    char order[64], body[1024];
    (void)snprintf(order, sizeof order, "%s-%d", load->name, i);
    char *input = sb_order_input(order, customers[i % 8], i % 2 ? "book" : "lamp", 1, 1000 + i % 7);
    (void)snprintf(body, sizeof body, "{\"type\":\"order\",\"key\":\"%s\",\"input\":%s}", order, input);
    free(input);
    sb_http_answer_t answer = sb_http_within(PATIENCE_MS, "POST", url, "/v1/sagas", body, NULL);
    bool accepted = answer.status == 200 || answer.status == 201;
    if (accepted && answer.body)
        note_accepted(load, i, answer.body);
    else if (answer.status != 0 && answer.status != 503 && answer.status != 429)
        note_fault(load, i, &answer);
    else
        atomic_fetch_add(&load->not_answered, 1);
    sb_http_free(&answer);
    return accepted;
}

/* Every fourth accepted order is asked for once more: its answer may have been the one that was lost. */
static void place_until_accepted(sb_load_client_t *client, int i)
{
    sb_load_t *load = client->load;
    int turn = client->number;
    while (!place(load, i, load->url[load->url[1] ? turn % 2 : 0])) {
        if (sb_test_mono_ms() > load->until_ms && atomic_load(&load->stopping)) {
            atomic_store(&load->gave_up, true);
            return;
        }
        turn++;
        sb_test_sleep_ms(20);
    }
    if (i % 4 == 0)
        (void)place(load, i, load->url[load->url[1] ? turn % 2 : 0]);
}

static void *run_client(void *context)
{
    sb_load_client_t *client = context;
    sb_load_t *load = client->load;
    while (!atomic_load(&load->stopping)) {
        int i = atomic_fetch_add(&load->next, 1);
        if (i >= SB_LOAD_ORDERS_MAX)
            break;
        place_until_accepted(client, i);
        sb_test_sleep_ms(load->pause_ms);
    }
    return NULL;
}

/* ---- the test's side ---- */

sb_load_t *sb_load_start(const char *name, const char *url, const char *other_url, int pause_ms)
{
    sb_load_t *load = calloc(1, sizeof *load);
    assert_non_null(load);
    load->name = name;
    load->url[0] = url;
    load->url[1] = other_url;
    load->pause_ms = pause_ms;
    (void)pthread_mutex_init(&load->lock, NULL);
    for (int i = 0; i < SB_LOAD_CLIENTS; i++) {
        sb_load_client_t *client = &load->client[i];
        client->load = load;
        client->number = i;
        assert_int_equal(pthread_create(&client->thread, NULL, run_client, client), 0);
    }
    return load;
}

static void fail_on_fault(sb_load_t *load)
{
    char fault[sizeof load->fault];
    (void)pthread_mutex_lock(&load->lock);
    (void)snprintf(fault, sizeof fault, "%s", load->fault);
    (void)pthread_mutex_unlock(&load->lock);
    if (fault[0])
        fail_msg("%s", fault);
}

void sb_load_await(sb_load_t *load, int count, int64_t expected_ms)
{
    int wanted = atomic_load(&load->accepted) + count;
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (atomic_load(&load->accepted) < wanted && sb_test_mono_ms() < until) {
        fail_on_fault(load);
        sb_test_sleep_ms(10);
    }
    if (atomic_load(&load->accepted) < wanted)
        fail_msg("%d of %d orders accepted within %d ms", count - wanted + atomic_load(&load->accepted),
                 count, (int)sb_test_patience(expected_ms));
}

void sb_load_stop(sb_load_t *load, int64_t expected_ms)
{
    if (atomic_load(&load->stopping))
        return;
    load->until_ms = sb_test_mono_ms() + sb_test_patience(expected_ms);
    atomic_store(&load->stopping, true);
    for (int i = 0; i < SB_LOAD_CLIENTS; i++)
        (void)pthread_join(load->client[i].thread, NULL);
}

static int placed(sb_load_t *load)
{
    int next = atomic_load(&load->next);
    return next < SB_LOAD_ORDERS_MAX ? next : SB_LOAD_ORDERS_MAX;
}

static void check_orders(sb_load_t *load, sb_stack_t *stack)
{
    char key[64];
    sb_error_t err = SB_ERROR_INIT;
    for (int i = 0; i < placed(load); i++) {
        sb_pg_params_t params = {0};
        sb_pg_result_t *found = NULL;
        (void)snprintf(key, sizeof key, "%s-%d", load->name, i);
        if (!load->order[i].id[0])
            fail_msg("order %s was never accepted", key);
        if (load->order[i].changed)
            fail_msg("order %s was answered with two sagas", key);
        sb_pg_add_text(&params, key);
        assert_ok(sb_pg_query(stack->pg,
                              "SELECT id::text FROM sagabus.saga WHERE type = 'order' AND key = $1", &params,
                              &found, &err),
                  &err);
        if (sb_pg_rows(found) != 1)
            fail_msg("order %s was accepted as saga %s and is lost", key, load->order[i].id);
        assert_string_equal(sb_pg_get_text(found, 0, 0), load->order[i].id);
        sb_pg_result_free(found);
    }
}

void sb_load_check(sb_load_t *load, sb_stack_t *stack, int64_t expected_ms)
{
    fail_on_fault(load);
    if (atomic_load(&load->gave_up))
        fail_msg("an order was not accepted although everything is back");
    sb_stack_await_ended(stack, expected_ms);
    check_orders(load, stack);
    sb_stack_check_conserved(stack);
}

void sb_load_free(sb_load_t **load)
{
    if (!*load)
        return;
    sb_load_stop(*load, 0);
    (void)pthread_mutex_destroy(&(*load)->lock);
    free(*load);
    *load = NULL;
}
