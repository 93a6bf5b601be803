/* relay - a backlog to Kafka, and how long an event takes at a steady rate.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/deliver.h"
#include "tests/bench/publish.h"

#define BACKLOG   200000
#define RATE      1000
#define DELIVER_S 4.0

void bench_backlog(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"relay of a backlog", "events/s", "raw librdkafka, same records from memory", 0.6, false},
        {"of it, until the relay sends", "ms", NULL, 0, true},
        {.name = NULL}};
    place_t place;
    publish_t publish;
    place_open(&place, env, "publish");
    publish_open(&publish, &place, (int64_t)(BACKLOG * env->scale));
    const bench_pair_t pair = {"publish", measures, publish_relay, publish_raw, &publish};
    double warm[BENCH_VALUES_MAX];
    publish_raw(&publish, 0, warm);
    publish_relay(&publish, 0, warm);
    bench_compare(env, &pair, results);
    publish_close(&publish);
    place_close(&place);
}

static void compare_delivery(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"commit to delivered at 1,000 events/s, p50", "ms", "raw produce to consume, same rate", 3, true},
        {"commit to delivered at 1,000 events/s, p99", "ms", "raw produce to consume, same rate", 3, true},
        {"rate that was reached", "events/s", "the same", 0, false},
        {.name = NULL}};
    place_t place;
    place_open(&place, env, "deliver");
    deliver_t deliver = {.place = &place, .rate = RATE, .seconds = DELIVER_S * env->scale};
    const bench_pair_t pair = {"delivery", measures, deliver_store, deliver_raw, &deliver};
    deliver_warm(&deliver);
    bench_compare(env, &pair, results);
    place_close(&place);
}

void bench_relay(const bench_env_t *env, bench_results_t *results)
{
    if (bench_wants(env, "backlog"))
        bench_backlog(env, results);
    if (bench_wants(env, "delivery"))
        compare_delivery(env, results);
}
