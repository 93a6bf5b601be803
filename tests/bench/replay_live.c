/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/store/sequencer.h"
#include "sagabus/store.h"
#include "tests/bench/append.h"
#include "tests/bench/latency.h"
#include "tests/bench/raw.h"
#include "tests/bench/replay.h"
#include "tests/bench/writers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH      1000 /* events a transaction of the projector */
#define PATIENCE_S 60
#define LOOK_US    1000
#define LAG_BATCH  10 /* events an append */
#define LOOKS_MAX  65536

/* ---- the projector ---- */

typedef struct part {
    sb_projector_t *projector;
    sb_catalog_t *catalog;
    pthread_t thread;
} part_t;

static void *project(void *context)
{
    sb_projector_run(context);
    return NULL;
}

static void start_projector(part_t *part, const place_t *place, sb_progress_t *progress)
{
    sb_error_t err = SB_ERROR_INIT;
    bench_ok(sb_catalog_new(&part->catalog, &err), &err, "make a catalog");
    sb_projector_config_t config = {
        .pg_uri = place_uri(place), .owner = "bench", .catalog = part->catalog, .progress = progress};
    bench_ok(sb_projector_open(&part->projector, &config, &err), &err, "open a projector");
    if (pthread_create(&part->thread, NULL, project, part->projector) != 0)
        bench_die("no thread for the projector");
}

static void stop_projector(part_t *part)
{
    sb_projector_stop(part->projector);
    (void)pthread_join(part->thread, NULL);
    sb_projector_close(&part->projector);
    sb_catalog_free(&part->catalog);
}

/* The view as if it had never been. */
static void forget(const live_t *live)
{
    place_script(
        live->story.place,
        "DROP TABLE IF EXISTS sagabus_view." STORY_STREAM "_g1 CASCADE; DELETE FROM "
        "sagabus.view_generation; DELETE FROM sagabus.lease WHERE role LIKE 'view:%'; DELETE FROM "
        "sagabus.tally; DELETE FROM sagabus.tally_reader; DELETE FROM sagabus.tally_gap; CHECKPOINT");
}

void live_project(void *context, int round, double *values)
{
    live_t *live = context;
    part_t part;
    sb_views_stats_t stats;
    (void)round;
    forget(live);
    int64_t start_us = sb_mono_us();
    start_projector(&part, live->story.place, NULL);
    do {
        sb_sleep_ms(1);
        sb_projector_stats(part.projector, &stats);
    } while (stats.events < live->story.events && sb_mono_us() - start_us < PATIENCE_S * INT64_C(1000000));
    values[0] = (double)stats.events * 1e6 / (double)(sb_mono_us() - start_us);
    stop_projector(&part);
    if (stats.events != live->story.events)
        bench_die("projected %lld events of %lld", (long long)stats.events, (long long)live->story.events);
}

/* ---- the same upserts ---- */

/* An order as order_summary keeps it. */
typedef struct order {
    bool known, seen;
    const char *status;
    int64_t amount, created, updated;
    bool cancelled;
} order_t;

enum { KEY, CUSTOMER, STATUS, AMOUNT, CURRENCY, REASON, CREATED, UPDATED, CARRIER, COLUMNS };

typedef struct rows {
    sb_pg_array_t column[COLUMNS];
    sb_pg_params_t params;
} rows_t;

static void fold(order_t *order, int64_t number)
{
    const char *type = story_type(number);
    order->known = true;
    order->updated = INT64_C(1767225600000000) + number;
    order->status = type + strlen("order.");
    if (strcmp(type, "order.created") == 0) {
        order->status = "pending";
        order->amount = story_amount(number);
        order->created = order->updated;
    } else if (strcmp(type, "order.cancelled") == 0) {
        order->cancelled = true;
    }
}

static void add_row(rows_t *rows, const order_t *order, int64_t stream)
{
    char text[64];
    sb_pg_array_t *c = rows->column;
    (void)snprintf(text, sizeof text, "o-%lld", (long long)stream);
    sb_pg_array_add_slice(&c[KEY], sb_slice(text));
    (void)snprintf(text, sizeof text, "c-%lld", (long long)(stream % 1000));
    sb_pg_array_add_slice(&c[CUSTOMER], order->created ? sb_slice(text) : SB_SLICE_NONE);
    sb_pg_array_add_slice(&c[STATUS], sb_slice(order->status));
    sb_pg_array_add_slice(&c[CURRENCY], order->created ? SB_SLICE("EUR") : SB_SLICE_NONE);
    sb_pg_array_add_slice(&c[REASON], order->cancelled ? SB_SLICE("changed") : SB_SLICE_NONE);
    sb_pg_array_add_null(&c[CARRIER]);
    sb_pg_array_add_time(&c[UPDATED], order->updated);
    if (order->created) {
        sb_pg_array_add_int8(&c[AMOUNT], order->amount);
        sb_pg_array_add_time(&c[CREATED], order->created);
    } else {
        sb_pg_array_add_null(&c[AMOUNT]);
        sb_pg_array_add_null(&c[CREATED]);
    }
}

/* The rows that each batch of the projector writes, made beforehand. */
static rows_t *make_rows(const story_t *story, int64_t *count)
{
    static const uint32_t types[COLUMNS] = {SB_PG_TEXT,        SB_PG_TEXT,        SB_PG_TEXT,
                                            SB_PG_INT8,        SB_PG_TEXT,        SB_PG_TEXT,
                                            SB_PG_TIMESTAMPTZ, SB_PG_TIMESTAMPTZ, SB_PG_TEXT};
    *count = (story->events + BATCH - 1) / BATCH;
    rows_t *rows = calloc((size_t)*count, sizeof *rows);
    order_t *orders = calloc((size_t)story->streams + 1, sizeof *orders);
    if (!rows || !orders)
        bench_die("out of memory");
    for (int64_t b = 0; b < *count; b++) {
        int64_t end = (b + 1) * BATCH < story->events ? (b + 1) * BATCH : story->events;
        for (int i = 0; i < COLUMNS; i++)
            sb_pg_array_init(&rows[b].column[i], types[i]);
        for (int64_t number = b * BATCH; number < end; number++)
            fold(&orders[story_stream(story, number)], number);
        for (int64_t number = b * BATCH; number < end; number++) {
            int64_t stream = story_stream(story, number);
            if (!orders[stream].seen)
                add_row(&rows[b], &orders[stream], stream);
            orders[stream].seen = true;
        }
        for (int64_t number = b * BATCH; number < end; number++)
            orders[story_stream(story, number)].seen = false;
        rows[b].params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
        for (int i = 0; i < COLUMNS; i++)
            sb_pg_add_array(&rows[b].params, &rows[b].column[i]);
    }
    free(orders);
    return rows;
}

static void free_rows(rows_t *rows, int64_t count)
{
    for (int64_t b = 0; b < count; b++)
        for (int i = 0; i < COLUMNS; i++)
            sb_pg_array_fini(&rows[b].column[i]);
    free(rows);
}

static void make_tables(const live_t *live)
{
    place_script(
        live->story.place,
        "DROP TABLE IF EXISTS public.raw_view, public.raw_checkpoint; CREATE TABLE public.raw_view "
        "(order_id text COLLATE \"C\" PRIMARY KEY, customer_id text, status text, amount int8, "
        "currency text, cancel_reason text, created_at timestamptz, updated_at timestamptz, carrier "
        "text) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05); CREATE INDEX ON "
        "public.raw_view (customer_id, order_id); CREATE TABLE public.raw_checkpoint (role "
        "text PRIMARY KEY, seq bigint); INSERT INTO public.raw_checkpoint VALUES ('view', 0); CHECKPOINT");
}

void live_upsert(void *context, int round, double *values)
{
    live_t *live = context;
    int64_t count;
    rows_t *rows = make_rows(&live->story, &count);
    (void)round;
    make_tables(live);
    PGconn *conn = raw_connect(place_uri(live->story.place), NULL);
    raw_prepare(conn, "checkpoint", "UPDATE public.raw_checkpoint SET seq = $1::bigint WHERE role = 'view'");
    raw_prepare(conn, "upsert",
                "INSERT INTO public.raw_view SELECT * FROM unnest($1::text[], $2::text[], $3::text[], "
                "$4::int8[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::text[]) ON "
                "CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, status = "
                "excluded.status, amount = excluded.amount, currency = excluded.currency, cancel_reason = "
                "excluded.cancel_reason, created_at = excluded.created_at, updated_at = excluded.updated_at, "
                "carrier = excluded.carrier");
    raw_start_pipeline(conn);
    int64_t start_us = sb_mono_us();
    for (int64_t b = 0; b < count; b++) {
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_add_int8(&params, (b + 1) * BATCH);
        raw_send(conn, "checkpoint", &params);
        raw_send(conn, "upsert", &rows[b].params);
        raw_sync(conn, 2);
    }
    values[0] = (double)live->story.events * 1e6 / (double)(sb_mono_us() - start_us);
    PQfinish(conn);
    free_rows(rows, count);
}

/* ---- lag ---- */

typedef struct point {
    int64_t seq;
    int64_t us;
} point_t;

typedef struct lag {
    const live_t *live;
    sb_progress_t progress;
    pthread_mutex_t lock; /* of the next two */
    point_t *appended;
    size_t appended_count;
    point_t look[LOOKS_MAX]; /* when the view was seen at a place */
    size_t look_count;
    _Atomic bool stop;
} lag_t;

static void *open_writer(writer_t *writer)
{
    const lag_t *lag = writer->context;
    sb_error_t err = SB_ERROR_INIT;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = place_uri(lag->live->story.place), .application_name = "bench"};
    bench_ok(sb_store_open(&store, &config, &err), &err, "open the store");
    return store;
}

static void close_writer(void *opened)
{
    sb_store_t *store = opened;
    sb_store_close(&store);
}

static void keep_pace(const writer_t *writer, const live_t *live)
{
    int64_t every_us = INT64_C(1000000) * LIVE_WRITERS * LAG_BATCH / live->rate;
    int64_t from_us = writer->until_us - (int64_t)(live->seconds * 1e6);
    int64_t due_us =
        from_us + writer->count / LAG_BATCH * every_us + every_us * writer->number / LIVE_WRITERS;
    int64_t wait_us = due_us - sb_mono_us();
    if (wait_us > 0) {
        struct timespec pause = {wait_us / 1000000, wait_us % 1000000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
}

static void step(writer_t *writer, void *opened)
{
    lag_t *lag = (lag_t *)(uintptr_t)writer->context;
    char body[LAG_BATCH][APPEND_BODY + 1], key[64];
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    sb_event_t event[LAG_BATCH];
    keep_pace(writer, lag->live);
    for (int i = 0; i < LAG_BATCH; i++) {
        append_body(body[i], writer->count + i);
        event[i] = (sb_event_t){
            .type = SB_SLICE("order.created"), .schema_version = 1, .data = {body[i], APPEND_BODY}};
    }
    (void)snprintf(key, sizeof key, "lag-%d-%lld", writer->number,
                   (long long)(writer->count / LAG_BATCH % 1000));
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = sb_slice(key),
                          .expect = SB_EXPECT_ANY,
                          .events = event,
                          .count = LAG_BATCH};
    bench_ok(sb_store_append(opened, &append, &result, &err), &err, "append");
    int64_t now = sb_mono_us();
    sb_progress_poke(&lag->progress);
    (void)pthread_mutex_lock(&lag->lock);
    lag->appended[lag->appended_count++] = (point_t){result.last_seq, now};
    (void)pthread_mutex_unlock(&lag->lock);
    writer->count += LAG_BATCH;
}

static void *look(void *context)
{
    lag_t *lag = context;
    PGconn *conn = raw_connect(place_uri(lag->live->story.place), NULL);
    raw_prepare(conn, "look", "SELECT cursor FROM sagabus.lease WHERE role = 'view:" STORY_STREAM "'");
    while (!atomic_load(&lag->stop) && lag->look_count < LOOKS_MAX) {
        PGresult *result = PQexecPrepared(conn, "look", 0, NULL, NULL, NULL, 0);
        int64_t seq = PQntuples(result) == 1 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0;
        PQclear(result);
        if (lag->look_count == 0 || lag->look[lag->look_count - 1].seq < seq)
            lag->look[lag->look_count++] = (point_t){seq, sb_mono_us()};
        struct timespec pause = {0, LOOK_US * 1000};
        (void)nanosleep(&pause, NULL);
    }
    PQfinish(conn);
    return NULL;
}

static void *sequence(void *context)
{
    sb_sequencer_run(context);
    return NULL;
}

static int by_seq(const void *a, const void *b)
{
    int64_t x = ((const point_t *)a)->seq, y = ((const point_t *)b)->seq;
    return (x > y) - (x < y);
}

static void add_lags(lag_t *lag, latency_t *latency)
{
    size_t k = 0;
    qsort(lag->appended, lag->appended_count, sizeof *lag->appended, by_seq);
    for (size_t i = 0; i < lag->appended_count; i++) {
        while (k < lag->look_count && lag->look[k].seq < lag->appended[i].seq)
            k++;
        if (k == lag->look_count)
            bench_die("the view never came to seq %lld", (long long)lag->appended[i].seq);
        int64_t us = lag->look[k].us - lag->appended[i].us;
        latency_add(latency, us > 0 ? us : 0);
    }
}

static void wait_for_view(const lag_t *lag)
{
    int64_t last = 0;
    for (size_t i = 0; i < lag->appended_count; i++)
        last = lag->appended[i].seq > last ? lag->appended[i].seq : last;
    for (int i = 0; i < PATIENCE_S * 100; i++) {
        if (place_int(lag->live->story.place,
                      "SELECT cursor FROM sagabus.lease WHERE role = 'view:" STORY_STREAM "'") >= last)
            break;
        sb_sleep_ms(10);
    }
    sb_sleep_ms(50); /* for the one that looks */
}

void live_lag(live_t *live, double values[3])
{
    static const writer_ops_t ops = {open_writer, step, close_writer};
    static lag_t lag;
    sb_error_t err = SB_ERROR_INIT;
    sb_sequencer_t *sequencer = NULL;
    part_t part;
    pthread_t threads[2];
    latency_t latency = {.count = 0};
    lag = (lag_t){.live = live};
    lag.appended = calloc((size_t)(live->rate * (live->seconds + 1)), sizeof *lag.appended);
    if (!lag.appended)
        bench_die("out of memory");
    (void)pthread_mutex_init(&lag.lock, NULL);
    sb_progress_init(&lag.progress);
    sb_sequencer_config_t config = {
        .pg_uri = place_uri(live->story.place), .owner = "bench", .progress = &lag.progress};
    bench_ok(sb_sequencer_open(&sequencer, &config, &err), &err, "open the sequencer");
    start_projector(&part, live->story.place, &lag.progress);
    if (pthread_create(&threads[0], NULL, sequence, sequencer) != 0 ||
        pthread_create(&threads[1], NULL, look, &lag) != 0)
        bench_die("no thread");
    sb_sleep_ms(1000); /* leases */
    values[2] = writers_run(&ops, LIVE_WRITERS, 0, &lag, live->seconds);
    wait_for_view(&lag);
    atomic_store(&lag.stop, true);
    (void)pthread_join(threads[1], NULL);
    stop_projector(&part);
    sb_sequencer_stop(sequencer);
    (void)pthread_join(threads[0], NULL);
    sb_sequencer_close(&sequencer);
    add_lags(&lag, &latency);
    values[0] = latency_percentile_ms(&latency, 99);
    values[1] = latency_percentile_ms(&latency, 50);
    latency_fini(&latency);
    free(lag.appended);
    (void)pthread_mutex_destroy(&lag.lock);
}
