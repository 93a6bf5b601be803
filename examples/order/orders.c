/* orders: the order itself, created once it is paid, cancelled when something after it fails.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <stdio.h>

static bool create(order_call_t *call)
{
    char amount[24];
    json_t *wanted = json_object_get(call->input, "amount");
    json_t *items = json_object_get(call->input, "items");
    const char *currency = json_string_value(json_object_get(call->input, "currency"));
    if (!json_is_integer(wanted) || !json_is_array(items) || !currency)
        return refuse(call, "order %s needs amount, currency and items", call->order_id);
    (void)snprintf(amount, sizeof amount, "%lld", (long long)json_integer_value(wanted));
    const char *values[] = {call->order_id, call->customer_id, amount, currency};
    int rows =
        touch(call,
              "INSERT INTO orders (order_id, customer_id, amount, currency) VALUES ($1, $2, $3::bigint, $4) "
              "ON CONFLICT (order_id) DO NOTHING",
              4, values);
    if (rows == 0)
        return refuse(call, "order %s is there already", call->order_id);
    if (rows < 0)
        return false;
    json_t *body = json_pack("{s:s, s:s, s:O, s:s, s:O}", "order_id", call->order_id, "customer_id",
                             call->customer_id, "amount", wanted, "currency", currency, "items", items);
    json_t *confirmed = json_pack("{s:s, s:s}", "order_id", call->order_id, "customer_id", call->customer_id);
    bool created = publish(call, "order.created", body);
    if (!created) {
        json_decref(confirmed);
        return false;
    }
    return publish(call, "order.confirmed", confirmed) &&
           answer(call, json_pack("{s:s}", "order_id", call->order_id));
}

static bool cancel(order_call_t *call)
{
    const char *values[] = {call->order_id};
    int rows =
        touch(call, "UPDATE orders SET status = 'cancelled' WHERE order_id = $1 AND status <> 'cancelled'", 1,
              values);
    if (rows == 0)
        return trouble(call, "order %s is not there to be cancelled", call->order_id);
    if (rows < 0)
        return false;
    json_t *body = json_pack("{s:s, s:s, s:s}", "order_id", call->order_id, "customer_id", call->customer_id,
                             "reason", "the order could not be completed");
    return publish(call, "order.cancelled", body);
}

static const order_action_t actions[] = {{"create", create}, {"cancel", cancel}, {NULL, NULL}};

const order_participant_t orders = {"orders", actions};
