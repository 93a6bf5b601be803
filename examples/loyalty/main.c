/* sagabus-loyalty: a read model that a C function folds. A customer earns a point for each 100 of an order's
 * amount, half as many again with silver (100 points) and twice as many with gold (500): what an event adds
 * depends on the row it is added to, which rules cannot say. A cancelled order costs 10 points; whose it was
 * comes from the view's carry, which is declared (schemas/views/loyalty.json).
 *
 *   sagabus schema apply examples/loyalty/schemas     once
 *   sagabus-loyalty                                   keeps the view up to date, until SIGTERM
 *   sagabus-loyalty replay | verify                   what `sagabus replay`, `sagabus view verify` do
 *
 * Read it as any view: GET /v1/views/loyalty?tier=gold, sagabus_view.loyalty. Setting: SAGABUS_PG.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/view.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CENTS_A_POINT  100
#define CANCELLED_COST 10

static sb_views_t *running;

static const char *tier_of(int64_t points)
{
    return points >= 500 ? "gold" : points >= 100 ? "silver" : "bronze";
}

/* In halves of a point, so that nothing is rounded but the sum. */
static int64_t halves_a_point(sb_slice_t tier)
{
    return sb_slice_is(tier, "gold") ? 4 : sb_slice_is(tier, "silver") ? 3 : 2;
}

static sb_code_t amount_of(const sb_event_t *event, int64_t *out, sb_error_t *err)
{
    json_t *data = json_loadb(event->data.ptr, event->data.len, 0, NULL);
    const json_t *amount = json_object_get(data, "amount");
    bool is_integer = json_is_integer(amount);
    *out = json_integer_value(amount);
    json_decref(data);
    return is_integer ? SB_OK : sb_fail(err, SB_INVALID, "the amount is no whole number");
}

static sb_code_t fold_loyalty(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    int64_t amount = 0;
    int64_t points = sb_fold_int(row, "points");
    int64_t orders = sb_fold_int(row, "orders");
    (void)context;
    if (sb_slice_is(event->type, "order.cancelled")) {
        points = points > CANCELLED_COST ? points - CANCELLED_COST : 0;
        orders--;
    } else {
        sb_code_t code = amount_of(event, &amount, err);
        if (code != SB_OK)
            return code;
        points += amount / CENTS_A_POINT * halves_a_point(sb_fold_text(row, "tier")) / 2;
        orders++;
        sb_fold_set_int(row, "last_order_at", event->time_us);
    }
    sb_fold_set_int(row, "orders", orders);
    sb_fold_set_int(row, "points", points);
    sb_fold_set_text(row, "tier", sb_slice(tier_of(points)));
    return SB_OK;
}

static void on_signal(int number)
{
    (void)number;
    sb_views_stop(running);
}

static sb_code_t serve(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    sb_views_run(running);
    return SB_OK;
}

static sb_code_t replay(sb_replay_mode_t mode, sb_error_t *err)
{
    sb_replay_report_t report;
    const sb_views_replay_t config = {.view = "loyalty", .mode = mode};
    sb_code_t code = sb_views_replay(running, &config, &report, err);
    const sb_view_comparison_t *c = &report.comparison;
    if (code == SB_OK && mode == SB_REPLAY_VERIFY)
        (void)printf("%" PRId64 " rows, %" PRId64 " are not as their events make them\n", c->live_rows,
                     c->missing + c->extra + c->differing);
    else if (code == SB_OK)
        (void)printf("generation %" PRId64 " is live: %" PRId64 " rows of %" PRId64 " events\n",
                     report.generation, report.rows, report.events);
    return code;
}

int main(int argc, char **argv)
{
    sb_error_t err = SB_ERROR_INIT;
    const char *verb = argc > 1 ? argv[1] : "";
    bool builds = strcmp(verb, "replay") == 0;
    bool verifies = strcmp(verb, "verify") == 0;
    const sb_views_config_t config = {.pg_uri = getenv("SAGABUS_PG"), .owner = "loyalty"};
    if (argc > 2 || (argc > 1 && !builds && !verifies)) {
        (void)fprintf(stderr, "usage: sagabus-loyalty [replay | verify]\n");
        return 2;
    }
    sb_code_t code = sb_views_open(&running, &config, &err);
    if (code == SB_OK)
        code = sb_views_fold(running, "loyalty", fold_loyalty, NULL, &err);
    if (code == SB_OK)
        code = argc == 1 ? serve() : replay(verifies ? SB_REPLAY_VERIFY : SB_REPLAY_BUILD, &err);
    if (code != SB_OK)
        (void)fprintf(stderr, "loyalty: %s\n", err.message);
    sb_views_close(&running);
    return code == SB_OK ? 0 : 1;
}
