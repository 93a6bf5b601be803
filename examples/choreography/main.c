/* sagabus-order-choreography: the order without an orchestrator. Two services hear each other's events and
 * act:
 *
 *   order.created   -> payment  charges the customer           -> payment.charged or payment.refused
 *   payment.charged -> orders   confirms the order              -> order.confirmed
 *   payment.refused -> orders   cancels it                      -> order.cancelled
 *   order.cancelled -> payment  gives back what was taken       -> payment.refunded
 *
 * Each handler's effect and the event it publishes are one transaction, with the subscriber's own position:
 * nothing is lost, nothing happens twice. What nobody has is the whole picture: which orders hang, and where,
 * is spread over the services; that is what the saga beside it (examples/order) is for. Run one or the other,
 * not both: the saga's participants publish order.created too.
 *
 *   sagabus-order-choreography payment | orders        until SIGTERM
 *
 * Uses the tables of examples/order (`sagabus-order-participants setup`, `sagabus migrate --only client
 * --schema payment` and `--schema orders`). Settings: SAGABUS_PG, SAGABUS_KAFKA_BOOTSTRAP,
 * SAGABUS_KAFKA_PREFIX.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "choreography.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static sb_subscriber_t *running;

static void on_signal(int number)
{
    (void)number;
    sb_subscriber_stop(running);
}

static int serve(const choreography_service_t *service)
{
    char group[64];
    sb_error_t err = SB_ERROR_INIT;
    sb_subscription_t subscription = {.name = service->name,
                                      .types = service->types,
                                      .type_count = service->type_count,
                                      .on_events = service->on_events};
    (void)snprintf(group, sizeof group, "choreography.%s", service->name);
    sb_subscriber_config_t config = {.group = group,
                                     .pg_uri = getenv("SAGABUS_PG"),
                                     .schema = service->name,
                                     .store_uri = getenv("SAGABUS_PG"),
                                     .instance_id =
                                         group, /* one process of each: a restart is at once back */
                                     .subscriptions = &subscription,
                                     .subscription_count = 1};
    sb_code_t code = sb_subscriber_open(&running, &config, &err);
    if (code == SB_OK) {
        struct sigaction action = {.sa_handler = on_signal};
        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigaction(SIGINT, &action, NULL);
        code = sb_subscriber_run(running, &err);
    }
    if (code != SB_OK)
        (void)fprintf(stderr, "%s: %s\n", service->name, err.message);
    sb_subscriber_close(&running);
    return code == SB_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const choreography_service_t *const all[] = {&choreography_payment, &choreography_orders, NULL};
    for (int i = 0; argc == 2 && all[i]; i++)
        if (strcmp(argv[1], all[i]->name) == 0)
            return serve(all[i]);
    (void)fprintf(stderr, "usage: sagabus-order-choreography payment | orders\n");
    return 2;
}
