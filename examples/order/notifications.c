/* notifications: tells the customer. A mail cannot be called back, so its undo is another mail.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

static bool send(order_call_t *call, const char *template)
{
    const char *values[] = {call->order_id, call->customer_id, template};
    if (touch(call, "INSERT INTO outbox (order_id, customer_id, template) VALUES ($1, $2, $3)", 3, values) <
        0)
        return false;
    json_t *body = json_pack("{s:s, s:s, s:s, s:s}", "order_id", call->order_id, "customer_id",
                             call->customer_id, "channel", "email", "template", template);
    return publish(call, "notification.sent", body);
}

static bool send_confirmation(order_call_t *call)
{
    const char *values[] = {call->customer_id};
    PGresult *result = run(call, "SELECT 1 FROM unreachable WHERE customer_id = $1", 1, values);
    if (!result)
        return false;
    bool unreachable = PQntuples(result) > 0;
    PQclear(result);
    if (unreachable)
        return refuse(call, "customer %s has no address that takes mail", call->customer_id);
    return send(call, "confirmation");
}

static bool send_cancellation(order_call_t *call)
{
    return send(call, "cancellation");
}

static const order_action_t actions[] = {
    {"send_confirmation", send_confirmation}, {"send_cancellation", send_cancellation}, {NULL, NULL}};

const order_participant_t notifications = {"notifications", actions};
