/* orders: an order stands when it is paid, and is cancelled when payment refuses. Events of two topics come
 * in any order, so the row is made by whichever is first.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "choreography.h"

static int put(choreography_order_t *order, const char *status, const char *sql, sb_error_t *err)
{
    const char *values[] = {order->order_id, order->customer_id, order->amount, order->currency, status};
    return choreography_touch(order, sql, 5, values, err);
}

static sb_code_t note(choreography_order_t *order, sb_error_t *err)
{
    int rows = put(order, "created",
                   "INSERT INTO orders (order_id, customer_id, amount, currency, status) "
                   "VALUES ($1, $2, $3::bigint, $4, $5) ON CONFLICT (order_id) DO NOTHING",
                   err);
    return rows < 0 ? SB_UNAVAILABLE : SB_OK;
}

static sb_code_t settle(choreography_order_t *order, bool paid, sb_error_t *err)
{
    int rows = put(
        order, paid ? "confirmed" : "cancelled",
        "INSERT INTO orders (order_id, customer_id, amount, currency, status) "
        "VALUES ($1, $2, $3::bigint, $4, $5) ON CONFLICT (order_id) DO UPDATE SET status = excluded.status "
        "WHERE orders.status = 'created'",
        err);
    if (rows <= 0) /* 0: it was settled before */
        return rows < 0 ? SB_UNAVAILABLE : SB_OK;
    if (paid)
        return choreography_publish(
            order, "order.confirmed",
            json_pack("{s:s, s:s}", "order_id", order->order_id, "customer_id", order->customer_id), err);
    return choreography_publish(order, "order.cancelled",
                                json_pack("{s:s, s:s, s:s}", "order_id", order->order_id, "customer_id",
                                          order->customer_id, "reason", "the payment was refused"),
                                err);
}

static sb_code_t handle(choreography_order_t *order, sb_error_t *err)
{
    sb_slice_t type = order->delivery->event.type;
    if (sb_slice_is(type, "order.created"))
        return note(order, err);
    return settle(order, sb_slice_is(type, "payment.charged"), err);
}

static sb_code_t on_events(void *context, PGconn *conn, const sb_delivery_t *deliveries, size_t count,
                           sb_error_t *err)
{
    (void)context;
    return choreography_each(conn, deliveries, count, handle, err);
}

static const char *const types[] = {"order.created", "payment.charged", "payment.refused"};

const choreography_service_t choreography_orders = {"orders", types, 3, on_events};
