/* SPDX-License-Identifier: Apache-2.0 */
#include "order_aggregate.h"

#include <stdlib.h>

static const char *const names[] = {"not there", "pending", "confirmed", "shipped", "delivered", "cancelled"};

const char *order_status_name(order_status_t status)
{
    return names[status];
}

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "order: out of memory");
}

static void order_fini(void *state)
{
    order_state_t *order = state;
    free(order->customer_id);
    order->customer_id = NULL;
}

/* ---- evolve: what is so after an event; it never refuses, for the event has happened ---- */

/* What an order was made with, from order.created and from a snapshot. */
static sb_code_t take_terms(order_state_t *order, const json_t *body, sb_error_t *err)
{
    const char *customer_id = json_string_value(json_object_get(body, "customer_id"));
    free(order->customer_id);
    order->customer_id = strdup(customer_id ? customer_id : "");
    order->amount = json_integer_value(json_object_get(body, "amount"));
    return order->customer_id ? SB_OK : no_memory(err);
}

static sb_code_t on_created(order_state_t *order, const sb_event_t *event, sb_error_t *err)
{
    json_error_t fault;
    json_t *body = json_loadb(event->data.ptr, event->data.len, 0, &fault);
    if (!body)
        return json_error_code(&fault) == json_error_out_of_memory
                   ? no_memory(err)
                   : sb_fail(err, SB_CORRUPT, "order.created: %s", fault.text);
    order->status = ORDER_PENDING;
    sb_code_t code = take_terms(order, body, err);
    json_decref(body);
    return code;
}

static sb_code_t order_evolve(void *state, const sb_event_t *event, sb_error_t *err)
{
    order_state_t *order = state;
    if (sb_slice_is(event->type, "order.created"))
        return on_created(order, event, err);
    if (sb_slice_is(event->type, "order.confirmed"))
        order->status = ORDER_CONFIRMED;
    else if (sb_slice_is(event->type, "order.shipped"))
        order->status = ORDER_SHIPPED;
    else if (sb_slice_is(event->type, "order.delivered"))
        order->status = ORDER_DELIVERED;
    else if (sb_slice_is(event->type, "order.cancelled"))
        order->status = ORDER_CANCELLED;
    return SB_OK; /* other types of the category do not change what may be done */
}

/* ---- decide ---- */

/* Which events each verb may follow, and what it makes. */
typedef struct rule {
    const char *verb;
    unsigned from; /* bits of order_status_t */
    order_status_t to;
    const char *type;
} rule_t;

#define FROM(status) (1u << (status))

static const rule_t rules[] = {
    [ORDER_CREATE] = {"created", FROM(ORDER_NONE), ORDER_PENDING, "order.created"},
    [ORDER_CONFIRM] = {"confirmed", FROM(ORDER_PENDING), ORDER_CONFIRMED, "order.confirmed"},
    [ORDER_SHIP] = {"shipped", FROM(ORDER_CONFIRMED), ORDER_SHIPPED, "order.shipped"},
    [ORDER_DELIVER] = {"delivered", FROM(ORDER_SHIPPED), ORDER_DELIVERED, "order.delivered"},
    [ORDER_CANCEL] = {"cancelled", FROM(ORDER_PENDING) | FROM(ORDER_CONFIRMED), ORDER_CANCELLED,
                      "order.cancelled"},
};

static json_t *body_of(const order_state_t *order, const order_command_t *command)
{
    json_t *body = NULL;
    switch (command->verb) {
    case ORDER_CREATE:
        body = json_copy((json_t *)(uintptr_t)command->order);
        if (body && json_object_set_new(body, "order_id", json_string(command->order_id)) == 0)
            return body;
        json_decref(body);
        return NULL;
    case ORDER_SHIP:
        return json_pack("{s:s, s:s, s:s*}", "order_id", command->order_id, "customer_id", order->customer_id,
                         "carrier", command->carrier);
    case ORDER_CANCEL:
        return json_pack("{s:s, s:s, s:s}", "order_id", command->order_id, "customer_id", order->customer_id,
                         "reason", command->reason ? command->reason : "");
    case ORDER_CONFIRM:
    case ORDER_DELIVER:
    default:
        return json_pack("{s:s, s:s}", "order_id", command->order_id, "customer_id", order->customer_id);
    }
}

static sb_code_t order_decide(const void *state, const void *what, sb_decision_t *decision, sb_error_t *err)
{
    const order_state_t *order = state;
    const order_command_t *command = what;
    const rule_t *rule = &rules[command->verb];
    if (order->status == rule->to && command->verb != ORDER_CREATE)
        return SB_OK;
    if (!(rule->from & FROM(order->status)))
        return sb_fail(err, SB_DENIED, "order %s is %s: it cannot be %s", command->order_id,
                       order_status_name(order->status), rule->verb);
    json_t *body = body_of(order, command);
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(body);
    if (!text)
        return no_memory(err);
    sb_event_t event = {.type = sb_slice(rule->type), .data = sb_slice(text)};
    sb_decision_add(decision, &event);
    free(text);
    return SB_OK;
}

/* ---- snapshots ---- */

static sb_code_t order_save(const void *state, char **bytes, size_t *length, sb_error_t *err)
{
    const order_state_t *order = state;
    json_t *body = json_pack("{s:i, s:s?, s:I}", "status", (int)order->status, "customer_id",
                             order->customer_id, "amount", order->amount);
    *bytes = body ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(body);
    if (!*bytes)
        return no_memory(err);
    *length = strlen(*bytes);
    return SB_OK;
}

static sb_code_t order_restore(void *state, sb_slice_t bytes, sb_error_t *err)
{
    order_state_t *order = state;
    json_error_t fault;
    json_t *body = json_loadb(bytes.ptr, bytes.len, 0, &fault);
    if (!body)
        return json_error_code(&fault) == json_error_out_of_memory
                   ? no_memory(err)
                   : sb_fail(err, SB_CORRUPT, "%s", fault.text);
    json_int_t status = json_integer_value(json_object_get(body, "status"));
    sb_code_t code = status < ORDER_NONE || status > ORDER_CANCELLED
                         ? sb_fail(err, SB_CORRUPT, "no status has the number %lld", (long long)status)
                         : take_terms(order, body, err);
    order->status = code == SB_OK ? (order_status_t)status : ORDER_NONE;
    json_decref(body);
    return code;
}

const sb_aggregate_type_t order_aggregate = {
    .category = "order",
    .state_size = sizeof(order_state_t),
    .fini = order_fini,
    .evolve = order_evolve,
    .decide = order_decide,
    .form = 1,
    .snapshot_every = 20,
    .save = order_save,
    .restore = order_restore,
};
