/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/order_bare.h"

#include "tests/bench/bare.h"
#include "tests/bench/bare_participant.h"

#include <stdlib.h>
#include <string.h>

struct order_bare {
    place_t place;
    double seconds;
    bare_participant_t *participant[ORDER_PARTICIPANTS];
    bare_t *bare;
};

/* ---- the script ---- */

static const char *const step[] = {"validate_customer", "reserve_inventory", "charge_payment", "create_order",
                                   "send_confirmation"};
static const char *const action[][2] = {{"customers.validate", NULL},
                                        {"inventory.reserve", "inventory.release"},
                                        {"payment.charge", "payment.refund"},
                                        {"orders.create", "orders.cancel"},
                                        {"notifications.send_confirmation", NULL}};
static const bare_move_t all_well[] = {{0, false}, {1, false}, {2, false}, {3, false}, {4, false}};
static const bare_move_t refused[] = {{0, false}, {1, false}, {2, false}, {3, false},
                                      {4, false}, {3, true},  {2, true},  {1, true}};

static bool is_refused(int64_t number)
{
    return number % ORDER_REFUSED_EACH == ORDER_REFUSED_EACH - 1;
}

static void write_input(sb_buf_t *out, const bare_saga_t *saga)
{
    order_input(out, saga->key, saga->refused);
}

/* The payment is known by the command that charged it. */
static void write_body(sb_buf_t *out, bare_saga_t *saga, const bare_move_t *move, const char *id)
{
    static const char items[] = ",\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":1999}]";
    if (move->step == 2 && !move->undo)
        (void)snprintf(saga->noted, sizeof saga->noted, "%s", id);
    sb_buf_printf(out, "{\"order_id\":\"%s\"", saga->key);
    if (move->step != 1)
        sb_buf_printf(out, ",\"customer_id\":\"%s\",\"amount\":1999,\"currency\":\"EUR\"",
                      saga->refused ? "alan" : "edsger");
    if (move->step == 1 || move->step == 3)
        sb_buf_add_text(out, items);
    if (move->step == 3 || (move->step == 2 && move->undo))
        sb_buf_printf(out, ",\"payment_id\":\"%s\"", saga->noted);
    sb_buf_add_text(out, "}");
}

static const bare_script_t script = {.type = "order",
                                     .steps = ORDER_PARTICIPANTS,
                                     .step = step,
                                     .participant = order_participant,
                                     .action = action,
                                     .all_well = all_well,
                                     .all_well_moves = (int)(sizeof all_well / sizeof all_well[0]),
                                     .refused = refused,
                                     .refused_moves = (int)(sizeof refused / sizeof refused[0]),
                                     .refusal = "customer alan has no address that takes mail",
                                     .undo_has_result = true,
                                     .is_refused = is_refused,
                                     .input = write_input,
                                     .body = write_body};

/* ---- rounds ---- */

void order_bare_warm(order_bare_t *bare, double seconds)
{
    double ignored[BENCH_VALUES_MAX];
    bare_load(bare->bare, ORDER_IN_FLIGHT, seconds, ignored);
}

void order_bare_run(void *context, int round, double *values)
{
    order_bare_t *bare = context;
    (void)round;
    bare_load(bare->bare, ORDER_IN_FLIGHT, bare->seconds, values);
}

place_t *order_bare_place(order_bare_t *bare)
{
    return &bare->place;
}

order_bare_t *order_bare_open(const bench_env_t *env, double seconds)
{
    order_bare_t *bare = calloc(1, sizeof *bare);
    if (!bare)
        bench_die("out of memory");
    bare->seconds = seconds;
    place_open(&bare->place, env, "bare");
    order_prepare(&bare->place);
    bare->bare = bare_open(&script, &bare->place, ORDER_IN_FLIGHT, false);
    for (int i = 0; i < ORDER_PARTICIPANTS; i++)
        bare->participant[i] = bare_participant_start(&bare->place, i);
    return bare;
}

void order_bare_close(order_bare_t **bare)
{
    order_bare_t *b = *bare;
    for (int i = 0; i < ORDER_PARTICIPANTS; i++)
        bare_participant_stop(&b->participant[i]);
    bare_close(&b->bare);
    place_close(&b->place);
    free(b);
    *bare = NULL;
}
