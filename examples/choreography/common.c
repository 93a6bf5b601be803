/* SPDX-License-Identifier: Apache-2.0 */
#include "choreography.h"

#include <stdio.h>
#include <stdlib.h>

static const char *text_of(const json_t *body, const char *name)
{
    const char *text = json_string_value(json_object_get(body, name));
    return text ? text : "";
}

static sb_code_t handle_one(PGconn *conn, const sb_delivery_t *delivery, choreography_fn handle,
                            sb_error_t *err)
{
    choreography_order_t order = {.delivery = delivery, .conn = conn};
    order.body = json_loadb(delivery->event.data.ptr ? delivery->event.data.ptr : "",
                            delivery->event.data.len, 0, NULL);
    order.order_id = text_of(order.body, "order_id");
    order.customer_id = text_of(order.body, "customer_id");
    order.currency = text_of(order.body, "currency");
    (void)snprintf(order.amount, sizeof order.amount, "%lld",
                   (long long)json_integer_value(json_object_get(order.body, "amount")));
    sb_code_t code = order.order_id[0] ? handle(&order, err)
                                       : sb_fail(err, SB_INVALID, "%.*s without an order_id",
                                                 SB_SLICE_ARG(delivery->event.type));
    json_decref(order.body);
    return code;
}

sb_code_t choreography_each(PGconn *conn, const sb_delivery_t *deliveries, size_t count,
                            choreography_fn handle, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++)
        code = handle_one(conn, &deliveries[i], handle, err);
    return code;
}

int choreography_touch(choreography_order_t *order, const char *sql, int count, const char *const *values,
                       sb_error_t *err)
{
    int rows = -1;
    PGresult *result = PQexecParams(order->conn, sql, count, NULL, values, NULL, NULL, 0);
    if (PQresultStatus(result) == PGRES_COMMAND_OK)
        rows = atoi(PQcmdTuples(result));
    else
        (void)sb_fail(err, SB_UNAVAILABLE, "%s", PQresultErrorMessage(result));
    PQclear(result);
    return rows;
}

sb_code_t choreography_publish(choreography_order_t *order, const char *type, json_t *body, sb_error_t *err)
{
    char cause[SB_UUID_TEXT];
    const sb_event_t *from = &order->delivery->event;
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    if (!text)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_event_t event = {.type = sb_slice(type),
                        .subject = sb_slice(order->order_id),
                        .correlation_id = from->correlation_id,
                        .causation_id = sb_slice(sb_uuid_format(&from->id, cause)),
                        .traceparent = from->traceparent,
                        .data = sb_slice(text)};
    sb_append_t append = {.category = sb_event_category(event.type),
                          .key = event.subject,
                          .expect = SB_EXPECT_ANY,
                          .events = &event,
                          .count = 1};
    sb_append_result_t result;
    sb_code_t code = sb_subscriber_append(&append, &result, err);
    free(text);
    return code;
}
