/* sagabus-order-desk: the order aggregate from a terminal, for orders that no saga leads.
 *
 *   sagabus-order-desk ORDER create CUSTOMER AMOUNT CURRENCY SKU
 *   sagabus-order-desk ORDER confirm | ship [CARRIER] | deliver | cancel REASON | show
 *
 * Settings: SAGABUS_PG; SAGABUS_COMMAND_ID (a UUID) makes a command safe to send again. Exit codes: 0 done,
 * 1 refused, 2 wrong use, 3 trouble.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order_aggregate.h"

#include <stdio.h>
#include <stdlib.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_TROUBLE = 3 };

static int usage(void)
{
    (void)fputs("sagabus-order-desk ORDER create CUSTOMER AMOUNT CURRENCY SKU\n"
                "sagabus-order-desk ORDER confirm | ship [CARRIER] | deliver | cancel REASON | show\n",
                stderr);
    return EXIT_USAGE;
}

static int show(sb_store_t *store, const char *order_id, sb_error_t *err)
{
    sb_aggregate_t *aggregate = NULL;
    sb_code_t code = sb_aggregate_load(&aggregate, store, &order_aggregate, sb_slice(order_id), 0, err);
    if (code != SB_OK)
        return EXIT_TROUBLE;
    const order_state_t *order = sb_aggregate_state(aggregate);
    (void)printf("%s is %s (version %d)\n", order_id, order_status_name(order->status),
                 sb_aggregate_version(aggregate));
    sb_aggregate_free(&aggregate);
    return 0;
}

static int execute(sb_store_t *store, const order_command_t *command, sb_error_t *err)
{
    static const char *const outcomes[] = {"done", "nothing to do", "done before"};
    const char *id = getenv("SAGABUS_COMMAND_ID");
    sb_execute_t request = {.key = sb_slice(command->order_id), .command = command};
    if (id && !sb_uuid_parse(id, strlen(id), &request.command_id)) {
        (void)fprintf(stderr, "SAGABUS_COMMAND_ID is no UUID\n");
        return EXIT_USAGE;
    }
    sb_execute_result_t result;
    sb_code_t code = sb_aggregate_execute(store, &order_aggregate, &request, &result, err);
    if (code != SB_OK)
        return code == SB_DENIED || code == SB_INVALID ? EXIT_REFUSED : EXIT_TROUBLE;
    (void)printf("%s: %s (version %d)\n", command->order_id, outcomes[result.outcome], result.version);
    return 0;
}

static json_t *new_order(char **words)
{
    long long amount = strtoll(words[1], NULL, 10);
    return json_pack("{s:s, s:I, s:s, s:[{s:s, s:i, s:I}]}", "customer_id", words[0], "amount",
                     (json_int_t)amount, "currency", words[2], "items", "sku", words[3], "quantity", 1,
                     "price", (json_int_t)amount);
}

static const struct {
    const char *word;
    order_verb_t verb;
    int least, most; /* words that may follow */
} verbs[] = {
    {"create", ORDER_CREATE, 4, 4},   {"confirm", ORDER_CONFIRM, 0, 0}, {"ship", ORDER_SHIP, 0, 1},
    {"deliver", ORDER_DELIVER, 0, 0}, {"cancel", ORDER_CANCEL, 1, 1},
};

/* words: the order, the verb, what the verb needs. */
static int run(sb_store_t *store, int count, char **words, sb_error_t *err)
{
    if (strcmp(words[1], "show") == 0)
        return show(store, words[0], err);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(words[1], verbs[i].word) != 0 || count - 2 < verbs[i].least || count - 2 > verbs[i].most)
            continue;
        json_t *order = verbs[i].verb == ORDER_CREATE ? new_order(words + 2) : NULL;
        order_command_t command = {.verb = verbs[i].verb,
                                   .order_id = words[0],
                                   .order = order,
                                   .carrier = count > 2 ? words[2] : NULL,
                                   .reason = count > 2 ? words[2] : NULL};
        int code = execute(store, &command, err);
        json_decref(order);
        return code;
    }
    return usage();
}

int main(int argc, char **argv)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = getenv("SAGABUS_PG"), .application_name = "order-desk"};
    if (argc < 3)
        return usage();
    int code = EXIT_TROUBLE;
    if (sb_store_open(&store, &config, &err) == SB_OK)
        code = run(store, argc - 1, argv + 1, &err);
    if (err.code != SB_OK)
        (void)fprintf(stderr, "sagabus-order-desk: %s\n", err.message);
    sb_store_close(&store);
    return code;
}
