/* inventory: sets stock aside for an order, and gives it back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <stdio.h>
#include <stdlib.h>

/* The reserved items of the order as an event's body. */
static json_t *body_of(order_call_t *call, json_t *items)
{
    json_t *list = json_array();
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        json_t *line = json_pack("{s:O, s:O}", "sku", json_object_get(item, "sku"), "quantity",
                                 json_object_get(item, "quantity"));
        json_array_append_new(list, line);
    }
    return json_pack("{s:s, s:o}", "order_id", call->order_id, "items", list);
}

static bool reserve_one(order_call_t *call, const json_t *item)
{
    char quantity[24];
    const char *sku = json_string_value(json_object_get(item, "sku"));
    (void)snprintf(quantity, sizeof quantity, "%lld",
                   (long long)json_integer_value(json_object_get(item, "quantity")));
    const char *values[] = {sku, quantity, call->order_id};
    int rows = touch(call,
                     "UPDATE stock SET available = available - $2::int, reserved = reserved + $2::int "
                     "WHERE sku = $1 AND available >= $2::int AND $3 <> ''",
                     3, values);
    if (rows == 0)
        return refuse(call, "%s of %s are not in stock", quantity, sku);
    if (rows < 0)
        return false;
    return touch(call, "INSERT INTO reservation (sku, quantity, order_id) VALUES ($1, $2::int, $3)", 3,
                 values) >= 0;
}

static bool reserve(order_call_t *call)
{
    json_t *items = json_object_get(call->input, "items");
    if (json_array_size(items) == 0)
        return refuse(call, "order %s has no items", call->order_id);
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        if (!json_is_string(json_object_get(item, "sku")) ||
            !json_is_integer(json_object_get(item, "quantity")))
            return refuse(call, "item %zu needs sku and quantity", i);
        if (!reserve_one(call, item))
            return false;
    }
    return publish(call, "inventory.reserved", body_of(call, items)) &&
           answer(call, json_pack("{s:s}", "reservation", call->order_id));
}

/* Gives back what this order has reserved, as found in our own rows: an undo needs nothing from the forward
 * reply. */
static bool release(order_call_t *call)
{
    const char *values[] = {call->order_id};
    PGresult *result =
        run(call,
            "WITH gone AS (DELETE FROM reservation WHERE order_id = $1 RETURNING sku, quantity), "
            "back AS (UPDATE stock s SET available = available + g.q, reserved = reserved - g.q "
            "FROM (SELECT sku, sum(quantity)::int AS q FROM gone GROUP BY sku) g WHERE s.sku = g.sku) "
            "SELECT sku, quantity FROM gone",
            1, values);
    if (!result)
        return false;
    json_t *items = json_array();
    for (int i = 0; i < PQntuples(result); i++) {
        json_t *line = json_pack("{s:s, s:i}", "sku", PQgetvalue(result, i, 0), "quantity",
                                 (int)strtol(PQgetvalue(result, i, 1), NULL, 10));
        json_array_append_new(items, line);
    }
    PQclear(result);
    bool ok = json_array_size(items) > 0 ? publish(call, "inventory.released", body_of(call, items))
                                         : trouble(call, "order %s has no reservation", call->order_id);
    json_decref(items);
    return ok;
}

static const order_action_t actions[] = {{"reserve", reserve}, {"release", release}, {NULL, NULL}};

const order_participant_t inventory = {"inventory", actions};
