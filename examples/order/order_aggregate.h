/* order_aggregate - the rules of an order, as two pure functions over its stream of events.
 *
 * none -> pending -> confirmed -> shipped -> delivered, and cancelled from pending and confirmed. Asking for
 * what is so already is fine and does nothing; what does not fit is refused with SB_DENIED.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLES_ORDER_AGGREGATE_H
#define EXAMPLES_ORDER_AGGREGATE_H

#include <sagabus/aggregate.h>

#include <jansson.h>

typedef enum order_status {
    ORDER_NONE,
    ORDER_PENDING,
    ORDER_CONFIRMED,
    ORDER_SHIPPED,
    ORDER_DELIVERED,
    ORDER_CANCELLED
} order_status_t;

typedef struct order_state {
    order_status_t status;
    char *customer_id; /* owned; NULL before the order is there */
    json_int_t amount;
    char *carrier; /* owned; NULL while it is not known */
} order_state_t;

typedef enum order_verb { ORDER_CREATE, ORDER_CONFIRM, ORDER_SHIP, ORDER_DELIVER, ORDER_CANCEL } order_verb_t;

typedef struct order_command {
    order_verb_t verb;
    const char *order_id;
    const json_t *order; /* create: customer_id, amount, currency, items */
    const char *carrier; /* ship; NULL: not said */
    const char *reason;  /* cancel */
} order_command_t;

const char *order_status_name(order_status_t status);

extern const sb_aggregate_type_t order_aggregate; /* its state is an order_state_t */

/* Its decision alone, for who appends in a transaction of its own and with the version that the state has
 * (orders.c): the type and body (the caller's) of the event that follows; NULL: there is nothing to do.
 * SB_DENIED: what does not fit. */
sb_code_t order_event(const order_state_t *order, const order_command_t *command, const char **type,
                      json_t **body, sb_error_t *err);

#endif
