/* order - what the five participants of the order example share.
 *
 * Each participant owns one PostgreSQL schema and one file here; all of them use sagabus through its public
 * headers only, as a service of yours would. They share a binary to keep the example small:
 * `sagabus-order-participants payment` runs one of them as a process of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLES_ORDER_H
#define EXAMPLES_ORDER_H

#include <sagabus/participant.h>

#include <jansson.h>
#include <libpq-fe.h>

/* One command in hand: what a handler works with. */
typedef struct order_call {
    sb_participant_t *participant;
    PGconn *conn;
    const sb_command_t *command;
    json_t *input;
    const char *order_id;
    const char *customer_id;
    sb_reply_t *reply;
} order_call_t;

/* Does the work of one command. Returns false after refuse() or trouble(). */
typedef bool (*order_handler_fn)(order_call_t *call);

typedef struct order_action {
    const char *name; /* "reserve" */
    order_handler_fn handle;
} order_action_t;

typedef struct order_participant {
    const char *name;              /* also its schema and its command topic */
    const order_action_t *actions; /* ended by a NULL name */
} order_participant_t;

extern const order_participant_t customers, inventory, payment, orders, notifications;

/* A business refusal: nothing happened, and asking again would not help. Returns false. */
bool refuse(order_call_t *call, const char *format, ...) SB_PRINTF(2, 3);
/* Could not say; the orchestrator asks again. Returns false. */
bool trouble(order_call_t *call, const char *format, ...) SB_PRINTF(2, 3);
/* The JSON text that later steps may use. */
bool answer(order_call_t *call, json_t *result); /* consumes result */

/* Runs one statement with text parameters, prepared at its first use: sql is static text. NULL after
 * trouble(). The caller clears the result. */
PGresult *run(order_call_t *call, const char *sql, int count, const char *const *values);
/* As run, for statements whose result is only how many rows they touched; -1 after trouble(). */
int touch(order_call_t *call, const char *sql, int count, const char *const *values);

/* Appends an event of the order's stream in the command's transaction; body is consumed. */
bool publish(order_call_t *call, const char *type, json_t *body);
/* The same to a stream that is at this version: when another was first, it is trouble() and asked again. */
bool publish_at(order_call_t *call, const char *type, json_t *body, int version);

#endif
