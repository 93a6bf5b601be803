/* payment: takes the amount from the customer's account, and gives it back. Amounts are in minor units.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <stdio.h>
#include <stdlib.h>

static json_t *body_of(order_call_t *call, const char *payment_id, long long amount, const char *currency)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s}", "order_id", call->order_id, "customer_id",
                     call->customer_id, "payment_id", payment_id, "amount", (json_int_t)amount, "currency",
                     currency);
}

static bool charge(order_call_t *call)
{
    char id[SB_UUID_TEXT];
    char amount[24];
    const json_t *wanted = json_object_get(call->input, "amount");
    const char *currency = json_string_value(json_object_get(call->input, "currency"));
    if (!json_is_integer(wanted) || !currency)
        return refuse(call, "order %s needs amount (minor units) and currency", call->order_id);
    (void)snprintf(amount, sizeof amount, "%lld", (long long)json_integer_value(wanted));
    /* The command's id is the payment's: the same over all attempts, and an undo carries it. */
    const char *values[] = {call->customer_id, amount, sb_uuid_format(&call->command->id, id), call->order_id,
                            currency};
    int rows = touch(
        call,
        "UPDATE account SET balance = balance - $2::bigint WHERE customer_id = $1 AND balance >= $2::bigint",
        2, values);
    if (rows == 0)
        return refuse(call, "customer %s cannot pay %s %s", call->customer_id, amount, currency);
    if (rows < 0 || touch(call,
                          "INSERT INTO payment (customer_id, amount, payment_id, order_id, currency) "
                          "VALUES ($1, $2::bigint, $3::uuid, $4, $5)",
                          5, values) < 0)
        return false;
    return publish(call, "payment.charged",
                   body_of(call, id, (long long)json_integer_value(wanted), currency)) &&
           answer(call, json_pack("{s:s}", "payment_id", id));
}

static bool refund(order_call_t *call)
{
    char id[SB_UUID_TEXT];
    const char *values[] = {sb_uuid_format(&call->command->forward_id, id)};
    PGresult *result =
        run(call,
            "WITH gone AS (UPDATE payment SET refunded = true WHERE payment_id = $1::uuid AND NOT refunded "
            "RETURNING customer_id, amount, currency), "
            "back AS (UPDATE account a SET balance = balance + g.amount FROM gone g "
            "WHERE a.customer_id = g.customer_id) SELECT amount, currency FROM gone",
            1, values);
    if (!result)
        return false;
    bool ok = PQntuples(result) == 1 ? publish(call, "payment.refunded",
                                               body_of(call, id, strtoll(PQgetvalue(result, 0, 0), NULL, 10),
                                                       PQgetvalue(result, 0, 1)))
                                     : trouble(call, "payment %s is not there to be refunded", id);
    PQclear(result);
    return ok;
}

static const order_action_t actions[] = {{"charge", charge}, {"refund", refund}, {NULL, NULL}};

const order_participant_t payment = {"payment", actions};
