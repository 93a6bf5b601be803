/* sagabus-order-participants: runs one participant of the order example, or prepares their tables.
 *
 *   sagabus-order-participants setup     makes the five schemas with their tables, barriers and a little
 * stock sagabus-order-participants NAME      customers, inventory, payment, orders or notifications, until
 * SIGTERM
 *
 * Settings: SAGABUS_PG, SAGABUS_KAFKA_BOOTSTRAP, SAGABUS_KAFKA_PREFIX.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"
#include "order_sql.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const order_participant_t *const all[] = {&customers, &inventory,     &payment,
                                                 &orders,    &notifications, NULL};

static sb_participant_t *running;

static void on_signal(int number)
{
    (void)number;
    sb_participant_stop(running);
}

typedef struct service {
    const order_participant_t *who;
} service_t;

/* Every executed effect leaves a row that nobody reads but the tests: the record of what really happened. */
static bool note_effect(order_call_t *call)
{
    char id[SB_UUID_TEXT], saga[SB_UUID_TEXT], step[128];
    (void)snprintf(step, sizeof step, "%.*s", SB_SLICE_ARG(call->command->step));
    const char *values[] = {sb_uuid_format(&call->command->id, id),
                            sb_uuid_format(&call->command->saga_id, saga), step,
                            call->command->compensate ? "compensate" : "forward"};
    return touch(call,
                 "INSERT INTO effect (command_id, saga_id, step, direction) VALUES ($1::uuid, $2::uuid, $3, "
                 "$4)",
                 4, values) == 1;
}

static void handle(const service_t *service, order_call_t *call)
{
    for (const order_action_t *action = service->who->actions; action->name; action++) {
        if (!sb_slice_is(call->command->action, action->name))
            continue;
        if (action->handle(call) && note_effect(call))
            call->reply->outcome = SB_REPLY_SUCCESS;
        return;
    }
    (void)refuse(call, "%s has no action %.*s", service->who->name, SB_SLICE_ARG(call->command->action));
}

static void on_command(void *context, PGconn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    order_call_t call = {.participant = running, .conn = conn, .command = command, .reply = reply};
    json_error_t fault;
    call.input = json_loadb(command->input.ptr, command->input.len, JSON_REJECT_DUPLICATES, &fault);
    call.order_id = json_string_value(json_object_get(call.input, "order_id"));
    call.customer_id = json_string_value(json_object_get(call.input, "customer_id"));
    if (!call.customer_id)
        call.customer_id = ""; /* not every step is told */
    if (call.order_id)
        handle(context, &call);
    else
        (void)refuse(&call, "the input needs order_id");
    json_decref(call.input);
}

static int serve(const order_participant_t *who)
{
    service_t service = {who};
    sb_participant_config_t config = {
        .name = who->name,
        .pg_uri = getenv("SAGABUS_PG"),
        .schema = who->name,
        .kafka_bootstrap = getenv("SAGABUS_KAFKA_BOOTSTRAP"),
        .kafka_prefix = getenv("SAGABUS_KAFKA_PREFIX"),
        .on_command = on_command,
        .context = &service,
    };
    sb_error_t err = SB_ERROR_INIT;
    if (sb_participant_open(&running, &config, &err) != SB_OK) {
        (void)fprintf(stderr, "%s: %s\n", who->name, err.message);
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    sb_participant_run(running);
    sb_participant_close(&running);
    return 0;
}

static int setup(void)
{
    const char *uri = getenv("SAGABUS_PG");
    PGconn *conn = PQconnectdb(uri ? uri : "");
    int status = 1;
    if (PQstatus(conn) != CONNECTION_OK) {
        (void)fprintf(stderr, "setup: %s", PQerrorMessage(conn));
    } else {
        PGresult *result = PQexec(conn, sb_sql_schema);
        status = PQresultStatus(result) == PGRES_COMMAND_OK ? 0 : 1;
        if (status != 0)
            (void)fprintf(stderr, "setup: %s", PQresultErrorMessage(result));
        PQclear(result);
    }
    PQfinish(conn);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc == 2 ? argv[1] : "";
    if (strcmp(name, "setup") == 0)
        return setup();
    for (int i = 0; all[i]; i++)
        if (strcmp(name, all[i]->name) == 0)
            return serve(all[i]);
    (void)fprintf(stderr, "usage: sagabus-order-participants setup | customers | inventory | payment | "
                          "orders | notifications\n");
    return 2;
}
