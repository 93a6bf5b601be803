/* orders: the order itself, created once it is paid, cancelled when something after it fails.
 *
 * What may be done with an order is the aggregate's to say (order_aggregate.h): one that was shipped
 * meanwhile cannot be cancelled, whoever asks. Its event goes into the command's own transaction, with
 * exactly the version of the stream that was decided on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"
#include "order_aggregate.h"

#include <stdio.h>
#include <stdlib.h>

static sb_store_t *store; /* for reading; opened when it is wanted, and anew after it failed */

/* The order as it is. False after trouble(). */
static bool load(order_call_t *call, sb_aggregate_t **out)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_store_config_t config = {.pg_uri = getenv("SAGABUS_PG"), .application_name = "orders"};
    sb_code_t code = store ? SB_OK : sb_store_open(&store, &config, &err);
    if (code == SB_OK)
        code = sb_aggregate_load(out, store, &order_aggregate, sb_slice(call->order_id), 0, &err);
    if (code == SB_OK)
        return true;
    sb_store_close(&store);
    return trouble(call, "order %s: %s", call->order_id, err.message);
}

/* A refusal of the rules is one of the participant's. */
static bool refuse_or_trouble(order_call_t *call, sb_code_t code, const sb_error_t *err)
{
    return code == SB_DENIED ? refuse(call, "%s", err->message) : trouble(call, "%s", err->message);
}

/* Decides on a state at a version, and appends what follows. */
static bool decide(order_call_t *call, const order_state_t *state, const order_command_t *command,
                   int version)
{
    sb_error_t err = SB_ERROR_INIT;
    const char *type;
    json_t *body;
    sb_code_t code = order_event(state, command, &type, &body, &err);
    if (code != SB_OK)
        return refuse_or_trouble(call, code, &err);
    return !type || publish_at(call, type, body, version);
}

/* Created and, for it is paid, confirmed. */
static bool create_and_confirm(order_call_t *call, const json_t *order)
{
    sb_aggregate_t *aggregate = NULL;
    order_command_t command = {.verb = ORDER_CREATE, .order_id = call->order_id, .order = order};
    order_state_t created = {.status = ORDER_PENDING, .customer_id = (char *)(uintptr_t)call->customer_id};
    if (!load(call, &aggregate))
        return false;
    int version = sb_aggregate_version(aggregate);
    bool done = decide(call, sb_aggregate_state(aggregate), &command, version);
    command.verb = ORDER_CONFIRM;
    done = done && decide(call, &created, &command, version + 1);
    sb_aggregate_free(&aggregate);
    return done;
}

static bool create(order_call_t *call)
{
    char amount[24];
    json_t *wanted = json_object_get(call->input, "amount");
    json_t *items = json_object_get(call->input, "items");
    const char *currency = json_string_value(json_object_get(call->input, "currency"));
    if (!json_is_integer(wanted) || !json_is_array(items) || !currency)
        return refuse(call, "order %s needs amount, currency and items", call->order_id);
    json_t *order = json_pack("{s:s, s:O, s:s, s:O}", "customer_id", call->customer_id, "amount", wanted,
                              "currency", currency, "items", items);
    bool done = order ? create_and_confirm(call, order) : trouble(call, "out of memory");
    json_decref(order);
    (void)snprintf(amount, sizeof amount, "%lld", (long long)json_integer_value(wanted));
    const char *values[] = {call->order_id, call->customer_id, amount, currency};
    return done &&
           touch(call,
                 "INSERT INTO orders (order_id, customer_id, amount, currency) VALUES ($1, $2, $3::bigint, "
                 "$4)",
                 4, values) == 1 &&
           answer(call, json_pack("{s:s}", "order_id", call->order_id));
}

/* An undo has no refusal: what the rules do not allow is for an operator to settle. */
static bool cancel(order_call_t *call)
{
    sb_aggregate_t *aggregate = NULL;
    const char *values[] = {call->order_id};
    order_command_t command = {
        .verb = ORDER_CANCEL, .order_id = call->order_id, .reason = "the order could not be completed"};
    if (!load(call, &aggregate))
        return false;
    bool done = decide(call, sb_aggregate_state(aggregate), &command, sb_aggregate_version(aggregate));
    sb_aggregate_free(&aggregate);
    if (!done && call->reply->outcome == SB_REPLY_FAILURE)
        call->reply->outcome = SB_REPLY_ERROR;
    return done && touch(call, "UPDATE orders SET status = 'cancelled' WHERE order_id = $1", 1, values) >= 0;
}

static const order_action_t actions[] = {{"create", create}, {"cancel", cancel}, {NULL, NULL}};

const order_participant_t orders = {"orders", actions};
