/* payment: charges when an order is created, gives back when it is cancelled. Both types are one
 * subscription, so the order of an order's own events holds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "choreography.h"

#include <stdlib.h>

static json_t *body_of(const choreography_order_t *order, const char *name, const char *value,
                       const char *amount, const char *currency)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "order_id", order->order_id, "customer_id",
                     order->customer_id, name, value, "amount", (json_int_t)strtoll(amount, NULL, 10),
                     "currency", currency);
}

static sb_code_t charge(choreography_order_t *order, sb_error_t *err)
{
    char id[SB_UUID_TEXT];
    const char *account[] = {order->customer_id, order->amount};
    const char *payment[] = {sb_uuid_format(&order->delivery->event.id, id), order->order_id,
                             order->customer_id, order->amount, order->currency};
    int rows = choreography_touch(order,
                                  "UPDATE account SET balance = balance - $2::bigint "
                                  "WHERE customer_id = $1 AND balance >= $2::bigint",
                                  2, account, err);
    if (rows == 0)
        return choreography_publish(
            order, "payment.refused",
            body_of(order, "reason", "the account does not cover it", order->amount, order->currency), err);
    if (rows < 0 ||
        choreography_touch(order,
                           "INSERT INTO payment (payment_id, order_id, customer_id, amount, currency) "
                           "VALUES ($1::uuid, $2, $3, $4::bigint, $5)",
                           5, payment, err) < 0)
        return SB_UNAVAILABLE;
    return choreography_publish(order, "payment.charged",
                                body_of(order, "payment_id", id, order->amount, order->currency), err);
}

/* Nothing was taken for an order that was refused: no row, no event. */
static sb_code_t give_back(choreography_order_t *order, sb_error_t *err)
{
    static const char sql[] =
        "WITH gone AS (UPDATE payment SET refunded = true WHERE order_id = $1 AND NOT refunded "
        "RETURNING payment_id, customer_id, amount, currency), back AS (UPDATE account a SET balance = "
        "balance + "
        "g.amount FROM gone g WHERE a.customer_id = g.customer_id) SELECT payment_id, amount, currency FROM "
        "gone";
    const char *values[] = {order->order_id};
    PGresult *result = PQexecParams(order->conn, sql, 1, NULL, values, NULL, NULL, 0);
    sb_code_t code = SB_OK;
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        code = sb_fail(err, SB_UNAVAILABLE, "%s", PQresultErrorMessage(result));
    else if (PQntuples(result) == 1)
        code = choreography_publish(order, "payment.refunded",
                                    body_of(order, "payment_id", PQgetvalue(result, 0, 0),
                                            PQgetvalue(result, 0, 1), PQgetvalue(result, 0, 2)),
                                    err);
    PQclear(result);
    return code;
}

static sb_code_t handle(choreography_order_t *order, sb_error_t *err)
{
    return sb_slice_is(order->delivery->event.type, "order.created") ? charge(order, err)
                                                                     : give_back(order, err);
}

static sb_code_t on_events(void *context, PGconn *conn, const sb_delivery_t *deliveries, size_t count,
                           sb_error_t *err)
{
    (void)context;
    return choreography_each(conn, deliveries, count, handle, err);
}

static const char *const types[] = {"order.created", "order.cancelled"};

const choreography_service_t choreography_payment = {"payment", types, 2, on_events};
