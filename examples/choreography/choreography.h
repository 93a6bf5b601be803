/* choreography - what the two services of the example share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLES_CHOREOGRAPHY_H
#define EXAMPLES_CHOREOGRAPHY_H

#include <sagabus/subscriber.h>

#include <jansson.h>
#include <libpq-fe.h>

typedef struct choreography_service {
    const char *name; /* also its schema */
    const char *const *types;
    size_t type_count;
    sb_handler_fn on_events;
} choreography_service_t;

extern const choreography_service_t choreography_payment, choreography_orders;

/* An order as the events tell of it. Texts are borrowed from body. */
typedef struct choreography_order {
    const sb_delivery_t *delivery;
    PGconn *conn;
    json_t *body;
    const char *order_id;
    const char *customer_id;
    const char *currency; /* "" when the event has none */
    char amount[24];
} choreography_order_t;

/* Runs handle for each delivery, in order, with its body read. What fails ends the batch, which is handed
 * over again. */
typedef sb_code_t (*choreography_fn)(choreography_order_t *order, sb_error_t *err);
sb_code_t choreography_each(PGconn *conn, const sb_delivery_t *deliveries, size_t count,
                            choreography_fn handle, sb_error_t *err);

/* Rows that a statement touched; -1 with err filled. */
int choreography_touch(choreography_order_t *order, const char *sql, int count, const char *const *values,
                       sb_error_t *err);

/* Appends an event of the order's stream in the handler's transaction; consumes body. Whatever caused the
 * event is carried on: correlation, trace, and the event it answers. */
sb_code_t choreography_publish(choreography_order_t *order, const char *type, json_t *body, sb_error_t *err);

#endif
