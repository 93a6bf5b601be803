/* smoke - the first point of every curve, in about two minutes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/append.h"
#include "tests/bench/machine.h"
#include "tests/bench/order.h"
#include "tests/bench/order_bare.h"

#include <math.h>

#define APPEND_S     1.0
#define ORDER_S      4.0
#define ORDER_WARM_S 10.0
#define BARE_WARM_S  4.0
#define UNLIKE_AT    0.05 /* how far the two sides' rows may be apart */

static void compare_appends(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t by_one[] = {
        {"100 events a transaction, 1 writer", "events/s", "raw libpq, same rows, same way", 0, false},
        {.name = NULL}};
    static const bench_measure_t by_eight[] = {
        {"100 events a transaction, 8 writers", "events/s", "raw libpq, same rows, same way", 0.8, false},
        {.name = NULL}};
    static const bench_measure_t single[] = {
        {"1 event a transaction, 8 writers", "events/s", "raw libpq, same rows, same way", 0, false},
        {.name = NULL}};
    place_t place;
    place_open(&place, env, "append");
    append_t append[] = {{&place, 1, 100, APPEND_S * env->scale},
                         {&place, 8, 100, APPEND_S * env->scale},
                         {&place, 8, 1, APPEND_S * env->scale}};
    const bench_pair_t pairs[] = {{"append", by_one, append_store, append_raw, &append[0]},
                                  {"append", by_eight, append_store, append_raw, &append[1]},
                                  {"append", single, append_store, append_raw, &append[2]}};
    for (int i = 0; i < 3; i++)
        bench_compare(env, &pairs[i], results);
    place_close(&place);
}

/* ---- order sagas ---- */

typedef struct both {
    order_t order;
    order_bare_t *bare;
} both_t;

static void run_order(void *context, int round, double *values)
{
    both_t *both = context;
    order_run(&both->order, round, values);
}

static void run_bare(void *context, int round, double *values)
{
    both_t *both = context;
    order_bare_run(both->bare, round, values);
}

static void compare_cost(const char *what, double ours, double theirs)
{
    bench_say("order: a saga leaves %.2f %s, %.2f in the reference%s", ours, what, theirs,
              fabs(ours - theirs) > ours * UNLIKE_AT ? ": THE TWO ARE NOT ALIKE" : "");
}

/* Whether the reference really writes the same rows. */
static void compare_costs(both_t *both)
{
    order_cost_t ours, theirs;
    order_cost(&both->order.place, &ours);
    order_cost(order_bare_place(both->bare), &theirs);
    compare_cost("saga events", ours.saga_events, theirs.saga_events);
    compare_cost("bytes in them", ours.saga_event_bytes, theirs.saga_event_bytes);
    compare_cost("events of participants", ours.other_events, theirs.other_events);
    compare_cost("bytes in them", ours.other_event_bytes, theirs.other_event_bytes);
    compare_cost("barrier rows", ours.barriers, theirs.barriers);
    compare_cost("effects", ours.effects, theirs.effects);
}

static void compare_orders(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"order sagas, 64 waiting HTTP clients", "sagas/s", "same rows and messages, raw, no logic, no HTTP",
         0, false},
        {"time from request to answer, p50", "ms", "from start to end, the same", 0, true},
        {"time from request to answer, p99", "ms", "from start to end, the same", 0, true},
        {.name = NULL}};
    static const bench_measure_t memory = {"resident memory of serve, at the end", "MB", NULL, 0, true};
    static const bench_measure_t serve_cpu = {"processor time of serve a saga", "us", NULL, 0, true};
    static const bench_measure_t services_cpu = {"processor time of the participants a saga", "us", NULL, 0,
                                                 true};
    both_t both;
    const bench_pair_t pair = {"order", measures, run_order, run_bare, &both};
    order_open(&both.order, env, ORDER_S * env->scale);
    both.bare = order_bare_open(env, ORDER_S * env->scale);
    order_warm(&both.order, ORDER_WARM_S * env->scale);
    order_bare_warm(both.bare, BARE_WARM_S * env->scale);
    bench_compare(env, &pair, results);
    bench_add(results, "order", &memory, machine_resident_mb(both.order.serve.pid));
    bench_add(results, "order", &serve_cpu, both.order.serve_s * 1e6 / (double)both.order.counted);
    bench_add(results, "order", &services_cpu, both.order.services_s * 1e6 / (double)both.order.counted);
    compare_costs(&both);
    order_bare_close(&both.bare);
    order_close(&both.order);
}

void bench_smoke(const bench_env_t *env, bench_results_t *results)
{
    if (bench_wants(env, "append"))
        compare_appends(env, results);
    if (bench_wants(env, "publish"))
        bench_backlog(env, results);
    if (bench_wants(env, "order"))
        compare_orders(env, results);
}
