/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/read.h"

#include "base/clock.h"
#include "sagabus/store.h"
#include "tests/bench/append.h"
#include "tests/bench/latency.h"
#include "tests/bench/raw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define EVENTS        500000
#define STREAM_EVENTS 25
#define STREAM_READS  500
#define NEWS_S        4.0
#define NEWS_RATE     2500

/* ---- history ---- */

void history_open(history_t *history, place_t *place, int64_t events)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    int64_t streams = events / STREAM_EVENTS > 0 ? events / STREAM_EVENTS : 1;
    char body[APPEND_BODY + 1];
    *history = (history_t){.place = place, .events = streams * STREAM_EVENTS};
    append_body(body, 1);
    bench_say("read: writing %lld events", (long long)history->events);
    sb_buf_printf(&sql,
                  "INSERT INTO sagabus.stream (category, key, version, first_seq, last_seq) SELECT 'order', "
                  "'order-number-' || g, %d, 1, %" PRId64 " FROM generate_series(1, %" PRId64 ") g;"
                  "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) SELECT "
                  "1 + g * 7919 %% %" PRId64 ", 1 + g / %" PRId64
                  ", (SELECT type_no FROM sagabus.event_type WHERE name = 'order.created' ORDER BY version "
                  "LIMIT 1), 1, gen_random_uuid(), convert_to('{\"correlationid\":\"' || md5(g::text) || "
                  "'\"}', 'UTF8'), convert_to('%s', 'UTF8') FROM generate_series(0::bigint, %" PRId64 ") g;"
                  "UPDATE sagabus.lease SET cursor = (SELECT last_value FROM sagabus.event_seq) WHERE role = "
                  "'sequencer'",
                  STREAM_EVENTS, history->events, streams, streams, streams, body, history->events - 1);
    place_script(place, sb_buf_text(&sql));
    place_script(place, "VACUUM ANALYZE sagabus.event");
    place_script(place, "VACUUM ANALYZE sagabus.stream");
    sb_buf_fini(&sql);
    sb_store_config_t config = {.pg_uri = place_uri(place), .application_name = "bench"};
    bench_ok(sb_store_open(&history->store, &config, &err), &err, "open the store");
}

void history_close(history_t *history)
{
    sb_store_close(&history->store);
}

typedef struct taken {
    int64_t events;
    size_t bytes;
} taken_t;

static sb_code_t take(void *context, const sb_event_t *event, sb_error_t *err)
{
    taken_t *taken = context;
    (void)err;
    taken->events++;
    taken->bytes += event->data.len + event->subject.len + event->correlation_id.len;
    return SB_OK;
}

void history_read(void *context, int round, double *values)
{
    const history_t *history = context;
    sb_error_t err = SB_ERROR_INIT;
    taken_t taken = {0, 0};
    sb_read_all_t read = {.limit = INT32_MAX};
    (void)round;
    int64_t start_us = sb_mono_us();
    bench_ok(sb_store_read_all(history->store, &read, take, &taken, NULL, &err), &err, "read all");
    values[0] = (double)taken.events * 1e6 / (double)(sb_mono_us() - start_us);
    if (taken.events != history->events)
        bench_die("read %lld events of %lld", (long long)taken.events, (long long)history->events);
}

static void copy(const history_t *history, const char *sql, double *values)
{
    PGconn *conn = raw_connect(place_uri(history->place), NULL);
    char *row = NULL;
    int64_t rows = 0; /* the file's header comes with the first one, its trailer alone */
    PQclear(PQexec(conn, "SET statement_timeout = 0"));
    int64_t start_us = sb_mono_us();
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COPY_OUT)
        bench_die("COPY: %s", PQerrorMessage(conn));
    PQclear(result);
    for (; PQgetCopyData(conn, &row, 0) > 0; rows++)
        PQfreemem(row);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    values[0] = (double)(rows - 1) * 1e6 / (double)(sb_mono_us() - start_us);
    if (rows - 1 != history->events)
        bench_die("copied %lld rows of %lld", (long long)rows - 1, (long long)history->events);
    PQfinish(conn);
}

void history_copy(void *context, int round, double *values)
{
    (void)round;
    copy(context,
         "COPY (SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data, s.key "
         "FROM sagabus.event e LEFT JOIN sagabus.stream s ON e.class = 1 AND s.stream_no = e.stream_no "
         "ORDER BY e.seq) TO STDOUT (FORMAT BINARY)",
         values);
}

void history_copy_bare(void *context, int round, double *values)
{
    (void)round;
    copy(context,
         "COPY (SELECT e.seq, e.stream_no, e.at, e.version, e.type_no, e.class, e.id, e.meta, e.data "
         "FROM sagabus.event e ORDER BY e.seq) TO STDOUT (FORMAT BINARY)",
         values);
}

/* ---- one stream ---- */

static int64_t stream_of(const history_t *history, int round, int i)
{
    int64_t streams = history->events / STREAM_EVENTS;
    return 1 + ((int64_t)round * STREAM_READS + i) * 104729 % streams;
}

void history_streams(void *context, int round, double *values)
{
    const history_t *history = context;
    sb_error_t err = SB_ERROR_INIT;
    latency_t latency = {.count = 0};
    taken_t taken = {0, 0};
    for (int i = 0; i < STREAM_READS; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "order-number-%lld", (long long)stream_of(history, round, i));
        int64_t start_us = sb_mono_us();
        bench_ok(sb_store_read_stream(history->store, SB_SLICE("order"), sb_slice(key), 1, false, 1000, take,
                                      &taken, &err),
                 &err, "read a stream");
        latency_add(&latency, sb_mono_us() - start_us);
    }
    if (taken.events != INT64_C(1) * STREAM_READS * STREAM_EVENTS)
        bench_die("read %lld events of streams", (long long)taken.events);
    values[0] = latency_percentile_ms(&latency, 50) * 1000;
    latency_fini(&latency);
}

void history_streams_raw(void *context, int round, double *values)
{
    const history_t *history = context;
    latency_t latency = {.count = 0};
    PGconn *conn = raw_connect(place_uri(history->place), NULL);
    raw_prepare(conn, "stream",
                "SELECT seq, stream_no, at, version, type_no, class, id, meta, data FROM sagabus.event "
                "WHERE class = 1 AND stream_no = $1::bigint ORDER BY version");
    raw_start_pipeline(conn);
    for (int i = 0; i < STREAM_READS; i++) {
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_add_int8(&params, stream_of(history, round, i));
        int64_t start_us = sb_mono_us();
        raw_send(conn, "stream", &params);
        raw_sync(conn, 1);
        latency_add(&latency, sb_mono_us() - start_us);
    }
    values[0] = latency_percentile_ms(&latency, 50) * 1000;
    latency_fini(&latency);
    PQfinish(conn);
}

/* ---- the benchmark ---- */

static void compare_history(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t whole[] = {
        {"catch-up read of all", "events/s", "COPY BINARY of the same columns, discarded", 0.8, false},
        {.name = NULL}};
    static const bench_measure_t bare[] = {
        {"the same", "events/s", "COPY BINARY of the event's columns, no stream keys", 0, false},
        {.name = NULL}};
    static const bench_measure_t streams[] = {
        {"read of a stream of 25 events, p50", "us", "raw libpq, the stream's number known", 0, true},
        {.name = NULL}};
    place_t place;
    history_t history;
    double warm[BENCH_VALUES_MAX];
    place_open(&place, env, "read");
    history_open(&history, &place, (int64_t)(EVENTS * env->scale));
    const bench_pair_t pairs[] = {{"read", whole, history_read, history_copy, &history},
                                  {"read", bare, history_read, history_copy_bare, &history},
                                  {"read", streams, history_streams, history_streams_raw, &history}};
    history_read(&history, 0, warm);
    for (int i = 0; i < 3; i++)
        bench_compare(env, &pairs[i], results);
    history_close(&history);
    place_close(&place);
}

static void compare_news(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"append to read by another, 2,500 events/s, p99", "ms", "one row and its commit, same rate, p99", 4,
         true},
        {"the same, p50", "ms", "one row and its commit, same rate, p50", 0, true},
        {"of it, the append, p99", "ms", NULL, 0, true},
        {"rate that was reached", "events/s", "of the reference", 0, false},
        {.name = NULL}};
    static const bench_measure_t beside_probe[] = {
        {"append to read beside a probe, p99", "ms",
         "a row, its commit, its way there and back, in the same round", 4, true},
        {"the same, p50", "ms", "p50 of it", 0, true},
        {.name = NULL}};
    place_t place;
    place_open(&place, env, "news");
    place_script(&place, "CREATE TABLE public.probe (n bigint PRIMARY KEY, body bytea NOT NULL)");
    news_t news = {.place = &place, .seconds = NEWS_S * env->scale, .rate = NEWS_RATE};
    const bench_pair_t pair = {"read", measures, news_store, news_commit, &news};
    const bench_pair_t probed = {"read", beside_probe, news_probed, news_probe, &news};
    double warm[BENCH_VALUES_MAX];
    news_store(&news, -1, warm);
    bench_compare(env, &pair, results);
    bench_compare(env, &probed, results);
    place_close(&place);
}

void bench_read(const bench_env_t *env, bench_results_t *results)
{
    if (bench_wants(env, "history"))
        compare_history(env, results);
    if (bench_wants(env, "news"))
        compare_news(env, results);
}
