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
    free(order->carrier);
    order->customer_id = NULL;
    order->carrier = NULL;
}

/* ---- evolve: what is so after an event; it never refuses, for the event has happened ---- */

/* Replaces a text; NULL when there is none. */
static sb_code_t take_text(char **to, const json_t *from, sb_error_t *err)
{
    const char *text = json_string_value(from);
    free(*to);
    *to = text ? strdup(text) : NULL;
    return text && !*to ? no_memory(err) : SB_OK;
}

static sb_code_t parse(json_t **out, sb_slice_t bytes, sb_error_t *err)
{
    json_error_t fault;
    *out = json_loadb(bytes.ptr, bytes.len, 0, &fault);
    if (*out)
        return SB_OK;
    return json_error_code(&fault) == json_error_out_of_memory ? no_memory(err)
                                                               : sb_fail(err, SB_CORRUPT, "%s", fault.text);
}

static sb_code_t on_created(order_state_t *order, const json_t *body, sb_error_t *err)
{
    order->status = ORDER_PENDING;
    order->amount = json_integer_value(json_object_get(body, "amount"));
    return take_text(&order->customer_id, json_object_get(body, "customer_id"), err);
}

/* Version 1 had the carrier at the top; its upcast puts it where version 2 has it, before it comes here. */
static sb_code_t on_shipped(order_state_t *order, const json_t *body, sb_error_t *err)
{
    order->status = ORDER_SHIPPED;
    return take_text(&order->carrier, json_object_get(json_object_get(body, "parcel"), "carrier"), err);
}

static sb_code_t order_evolve(void *state, const sb_event_t *event, sb_error_t *err)
{
    order_state_t *order = state;
    bool created = sb_slice_is(event->type, "order.created");
    if (created || sb_slice_is(event->type, "order.shipped")) {
        json_t *body = NULL;
        sb_slice_t data = sb_slice_is(event->data, "null") ? SB_SLICE("{}") : event->data; /* it was erased */
        sb_code_t code = parse(&body, data, err);
        if (code == SB_OK)
            code = created ? on_created(order, body, err) : on_shipped(order, body, err);
        json_decref(body);
        return code;
    }
    if (sb_slice_is(event->type, "order.confirmed"))
        order->status = ORDER_CONFIRMED;
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
        return json_pack("{s:s, s:s*, s:{s:s*}}", "order_id", command->order_id, "customer_id",
                         order->customer_id, "parcel", "carrier", command->carrier);
    case ORDER_CANCEL:
        return json_pack("{s:s, s:s*, s:s}", "order_id", command->order_id, "customer_id", order->customer_id,
                         "reason", command->reason ? command->reason : "");
    case ORDER_CONFIRM:
    case ORDER_DELIVER:
    default:
        return json_pack("{s:s, s:s*}", "order_id", command->order_id, "customer_id", order->customer_id);
    }
}

sb_code_t order_event(const order_state_t *order, const order_command_t *command, const char **type,
                      json_t **body, sb_error_t *err)
{
    const rule_t *rule = &rules[command->verb];
    *type = NULL;
    *body = NULL;
    if (order->status == rule->to && command->verb != ORDER_CREATE)
        return SB_OK;
    if (!(rule->from & FROM(order->status)))
        return sb_fail(err, SB_DENIED, "order %s is %s: it cannot be %s", command->order_id,
                       order_status_name(order->status), rule->verb);
    *type = rule->type;
    *body = body_of(order, command);
    return *body ? SB_OK : no_memory(err);
}

static sb_code_t order_decide(const void *state, const void *what, sb_decision_t *decision, sb_error_t *err)
{
    const char *type;
    json_t *body;
    sb_code_t code = order_event(state, what, &type, &body, err);
    if (code != SB_OK || !type)
        return code;
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    if (!text)
        return no_memory(err);
    sb_event_t event = {.type = sb_slice(type), .data = sb_slice(text)};
    sb_decision_add(decision, &event);
    free(text);
    return SB_OK;
}

/* ---- snapshots ---- */

static sb_code_t order_save(const void *state, char **bytes, size_t *length, sb_error_t *err)
{
    const order_state_t *order = state;
    json_t *body = json_pack("{s:i, s:s?, s:I, s:s?}", "status", (int)order->status, "customer_id",
                             order->customer_id, "amount", order->amount, "carrier", order->carrier);
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
    json_t *body = NULL;
    sb_code_t code = parse(&body, bytes, err);
    json_int_t status = json_integer_value(json_object_get(body, "status"));
    if (code == SB_OK && (status < ORDER_NONE || status > ORDER_CANCELLED))
        code = sb_fail(err, SB_CORRUPT, "no status has the number %lld", (long long)status);
    if (code == SB_OK)
        code = take_text(&order->customer_id, json_object_get(body, "customer_id"), err);
    if (code == SB_OK)
        code = take_text(&order->carrier, json_object_get(body, "carrier"), err);
    order->status = code == SB_OK ? (order_status_t)status : ORDER_NONE;
    order->amount = json_integer_value(json_object_get(body, "amount"));
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
