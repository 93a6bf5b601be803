/* customers: may this customer order? Nothing to undo.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

static bool validate(order_call_t *call)
{
    const char *values[] = {call->customer_id};
    PGresult *result = run(call, "SELECT blocked FROM customer WHERE customer_id = $1", 1, values);
    if (!result)
        return false;
    bool known = PQntuples(result) == 1;
    bool blocked = known && PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    if (!known)
        return refuse(call, "customer %s is not known", call->customer_id);
    if (blocked)
        return refuse(call, "customer %s is blocked", call->customer_id);
    json_t *body = json_pack("{s:s, s:s}", "order_id", call->order_id, "customer_id", call->customer_id);
    return publish(call, "customer.validated", body);
}

static const order_action_t actions[] = {{"validate", validate}, {NULL, NULL}};

const order_participant_t customers = {"customers", actions};
