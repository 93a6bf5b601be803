/* append - how fast events go in: batches, single events of many callers, and over HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/combine.h"

#include <stdlib.h>

#define ROUND_S 2.0

#define ONE_MEASURE(variable, text, beside, goal_)                                                           \
    static const bench_measure_t variable[] = {{text, "events/s", beside, goal_, false}, {.name = NULL}}

static void compare(const bench_env_t *env, bench_results_t *results, const bench_measure_t *measure,
                    bench_round_fn ours, bench_round_fn theirs, void *context)
{
    bench_pair_t pair = {"append", measure, ours, theirs, context};
    bench_compare(env, &pair, results);
}

static void beside_message_db(const bench_env_t *env, bench_results_t *results, combine_t *combine)
{
    ONE_MEASURE(crowd, "1 event an append, 64 callers", "message-db write_message, 64 clients", 10);
    ONE_MEASURE(best, "1 event an append, 64 callers", "message-db write_message, its best count of clients",
                4);
    combine->message_db = getenv("SB_MESSAGE_DB");
    if (!combine->message_db || !combine->message_db[0]) {
        bench_say("append: SB_MESSAGE_DB does not name the SQL of message-db, it is left out");
        return;
    }
    combine_install_message_db(combine);
    combine->clients = COMBINE_CALLERS;
    compare(env, results, crowd, combine_appender, combine_message_db, combine);
    combine->clients = 0;
    compare(env, results, best, combine_appender, combine_message_db, combine);
}

void bench_append(const bench_env_t *env, bench_results_t *results)
{
    ONE_MEASURE(batched, "100 events an append, 8 writers", "raw libpq, same rows, same way", 0.8);
    ONE_MEASURE(single, "1 event an append, 64 callers", "raw pipelined libpq, as many rows a commit", 0.6);
    ONE_MEASURE(http, "POST /v1/events, 64 keep-alive clients", "the C API, 64 callers", 0.5);
    place_t place;
    double seconds = ROUND_S * env->scale;
    place_open(&place, env, "append");
    append_t batches = {&place, 8, 100, seconds};
    combine_t combine = {.place = &place, .connections = 1, .seconds = seconds};
    if (bench_wants(env, "batched"))
        compare(env, results, batched, append_store, append_raw, &batches);
    if (bench_wants(env, "single"))
        compare(env, results, single, combine_appender, combine_raw, &combine);
    if (bench_wants(env, "message-db"))
        beside_message_db(env, results, &combine);
    if (bench_wants(env, "http")) {
        combine.connections = 2; /* as many as serve has */
        combine_serve(&combine);
        compare(env, results, http, combine_http, combine_appender, &combine);
        combine_stop(&combine);
    }
    place_close(&place);
}
