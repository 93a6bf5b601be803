/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/read.h"

#include "base/clock.h"
#include "events/store/sequencer.h"
#include "sagabus/store.h"
#include "tests/bench/append.h"
#include "tests/bench/latency.h"
#include "tests/bench/raw.h"
#include "tests/bench/writers.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SETTLE_MS     5000 /* for what was appended last to be seen */
#define WARM_UP       (-1) /* the number of an event that is not measured */
#define PROBED_ROUNDS 1000 /* so that their streams are not those of other rounds */

/* What the writers of a round and the reader share. Each number is one writer's. */
typedef struct round {
    const news_t *news;
    sb_progress_t *progress;
    _Atomic int64_t *start_us; /* of each event's append, by its number */
    int64_t numbers;
    pthread_mutex_t lock; /* of the next */
    latency_t appends;
} round_t;

static int64_t number_of(const writer_t *writer)
{
    return writer->count * NEWS_WRITERS + writer->number;
}

/* The writer's own beat; a writer that is late goes on at once. */
static void keep_pace(const writer_t *writer, const news_t *news, int64_t from_us)
{
    int64_t every_us = INT64_C(1000000) * NEWS_WRITERS / news->rate;
    int64_t due_us = from_us + writer->count * every_us + every_us * writer->number / NEWS_WRITERS;
    int64_t wait_us = due_us - sb_mono_us();
    if (wait_us > 0) {
        struct timespec pause = {wait_us / 1000000, wait_us % 1000000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
}

/* ---- appends ---- */

typedef struct side {
    round_t *round;
    sb_store_t *store;
    PGconn *conn;
    int64_t from_us;
    latency_t latency;
} side_t;

static void append_one(side_t *side, const writer_t *writer, int64_t number);
static void insert_one(side_t *side, int64_t key, int64_t number);

static void open_raw_side(side_t *side)
{
    side->conn = raw_connect(place_uri(side->round->news->place), NULL);
    raw_prepare(side->conn, "probe", "INSERT INTO public.probe VALUES ($1::bigint, $2::bytea)");
    raw_start_pipeline(side->conn);
}

/* Each writer's connection has done its work once when the beat begins: what a session makes at its first use
 * (plans, caches) is neither side's pace. */
static void *open_side(writer_t *writer, bool store)
{
    sb_error_t err = SB_ERROR_INIT;
    side_t *side = calloc(1, sizeof *side);
    if (!side)
        bench_die("out of memory");
    side->round = (round_t *)(uintptr_t)writer->context;
    const place_t *place = side->round->news->place;
    sb_store_config_t config = {.pg_uri = place_uri(place), .application_name = "bench"};
    if (store) {
        bench_ok(sb_store_open(&side->store, &config, &err), &err, "open the store");
        append_one(side, writer, WARM_UP);
    } else {
        open_raw_side(side);
        insert_one(side, -1 - writer->number, 0);
    }
    return side;
}

static void *open_store(writer_t *writer)
{
    return open_side(writer, true);
}

static void *open_raw(writer_t *writer)
{
    return open_side(writer, false);
}

static void close_side(void *opened)
{
    side_t *side = opened;
    (void)pthread_mutex_lock(&side->round->lock);
    for (size_t i = 0; i < side->latency.count; i++)
        latency_add(&side->round->appends, side->latency.us[i]);
    (void)pthread_mutex_unlock(&side->round->lock);
    latency_fini(&side->latency);
    sb_store_close(&side->store);
    if (side->conn)
        PQfinish(side->conn);
    free(side);
}

static void append_one(side_t *side, const writer_t *writer, int64_t number)
{
    char body[APPEND_BODY + 1], key[64];
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    append_body(body, number);
    (void)snprintf(key, sizeof key, "n-%d-%lld", writer->round, (long long)(number % 10000));
    sb_event_t event = {.type = SB_SLICE("order.created"), .schema_version = 1, .data = {body, APPEND_BODY}};
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = sb_slice(key),
                          .expect = SB_EXPECT_ANY,
                          .events = &event,
                          .count = 1};
    uint64_t era = sb_progress_era(side->round->progress);
    bench_ok(sb_store_append(side->store, &append, &result, &err), &err, "append");
    sb_progress_appended(side->round->progress, era, &result, append.count);
}

static void step_store(writer_t *writer, void *opened)
{
    side_t *side = opened;
    int64_t number = number_of(writer);
    if (side->from_us == 0)
        side->from_us = sb_mono_us();
    keep_pace(writer, side->round->news, side->from_us);
    if (number >= side->round->numbers)
        return;
    int64_t start_us = sb_mono_us();
    atomic_store(&side->round->start_us[number], start_us);
    append_one(side, writer, number);
    latency_add(&side->latency, sb_mono_us() - start_us);
    writer->count++;
}

static void insert_one(side_t *side, int64_t key, int64_t number)
{
    char body[APPEND_BODY + 1];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    append_body(body, number);
    sb_pg_add_int8(&params, key);
    sb_pg_add_bytea(&params, (sb_slice_t){body, APPEND_BODY});
    raw_send(side->conn, "probe", &params);
    raw_sync(side->conn, 1);
}

static void step_raw(writer_t *writer, void *opened)
{
    side_t *side = opened;
    if (side->from_us == 0)
        side->from_us = sb_mono_us();
    keep_pace(writer, side->round->news, side->from_us);
    int64_t start_us = sb_mono_us();
    insert_one(side, (int64_t)writer->round << 32 | number_of(writer), number_of(writer));
    latency_add(&side->latency, sb_mono_us() - start_us);
    writer->count++;
}

/* ---- the reader ---- */

typedef struct reader {
    round_t *round;
    sb_store_t *store;
    sb_signal_t signal;
    _Atomic bool stop;
    _Atomic int64_t count;
    int64_t last_seq;
    latency_t latency;
} reader_t;

static sb_code_t see(void *context, const sb_event_t *event, sb_error_t *err)
{
    static const char head[] = "{\"order_id\":\"o-";
    reader_t *reader = context;
    (void)err;
    int64_t number = strtoll(event->data.ptr + sizeof head - 1, NULL, 10);
    if (number == WARM_UP)
        return SB_OK;
    latency_add(&reader->latency, sb_mono_us() - atomic_load(&reader->round->start_us[number]));
    atomic_fetch_add(&reader->count, 1);
    return SB_OK;
}

static void *read_news(void *context)
{
    reader_t *reader = context;
    sb_error_t err = SB_ERROR_INIT;
    while (!atomic_load(&reader->stop)) {
        (void)sb_signal_wait(&reader->signal, 50);
        sb_read_all_t read = {.after_seq = reader->last_seq, .limit = INT32_MAX};
        bench_ok(sb_store_read_all(reader->store, &read, see, reader, &reader->last_seq, &err), &err,
                 "read what is new");
    }
    return NULL;
}

static void *sequence(void *context)
{
    sb_sequencer_run(context);
    return NULL;
}

/* ---- a probe: one row, its commit and the round trip, over and over beside the round ---- */

#define PROBE_EVERY_MS 4

typedef struct probe {
    side_t side;
    pthread_t thread;
    _Atomic bool stop;
} probe_t;

static void *run_probe(void *context)
{
    probe_t *probe = context;
    side_t *side = &probe->side;
    for (int64_t key = -1; !atomic_load(&probe->stop); key--) {
        int64_t start_us = sb_mono_us();
        insert_one(side, key, 0);
        if (key < -1) /* not the first, which has its plan to make */
            latency_add(&side->latency, sb_mono_us() - start_us);
        sb_sleep_ms(PROBE_EVERY_MS);
    }
    return NULL;
}

static void start_probe(probe_t *probe, round_t *round)
{
    *probe = (probe_t){.side.round = round};
    place_script(round->news->place, "TRUNCATE public.probe");
    open_raw_side(&probe->side);
    if (pthread_create(&probe->thread, NULL, run_probe, probe) != 0)
        bench_die("no thread for the probe");
}

static void stop_probe(probe_t *probe, news_figures_t *figures)
{
    atomic_store(&probe->stop, true);
    (void)pthread_join(probe->thread, NULL);
    figures->probe_p99 = latency_percentile_ms(&probe->side.latency, 99);
    figures->probe_p50 = latency_percentile_ms(&probe->side.latency, 50);
    latency_fini(&probe->side.latency);
    PQfinish(probe->side.conn);
}

/* ---- rounds ---- */

static void run_writers(round_t *round, int number, bool store, double *rate)
{
    static const writer_ops_t of_store = {open_store, step_store, close_side};
    static const writer_ops_t of_raw = {open_raw, step_raw, close_side};
    *rate = writers_run(store ? &of_store : &of_raw, NEWS_WRITERS, number, round, round->news->seconds);
}

static void open_round(round_t *round, const news_t *news, sb_progress_t *progress)
{
    *round = (round_t){.news = news, .progress = progress};
    round->numbers = (int64_t)(news->rate * (news->seconds + 1)) * 2;
    round->start_us = calloc((size_t)round->numbers, sizeof *round->start_us);
    if (!round->start_us)
        bench_die("out of memory");
    (void)pthread_mutex_init(&round->lock, NULL);
}

static void close_round(round_t *round)
{
    latency_fini(&round->appends);
    (void)pthread_mutex_destroy(&round->lock);
    free(round->start_us);
}

static void open_reader(reader_t *reader, round_t *round)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_store_config_t config = {.pg_uri = place_uri(round->news->place), .application_name = "bench reader"};
    *reader = (reader_t){.round = round};
    bench_ok(sb_signal_init(&reader->signal, &err), &err, "make a signal");
    sb_progress_listen(round->progress, &reader->signal);
    bench_ok(sb_store_open(&reader->store, &config, &err), &err, "open the store");
    bench_ok(sb_store_safe_seq(reader->store, &reader->last_seq, &err), &err, "ask for safe_seq");
}

static void run_store_round(const news_t *news, int number, bool probed, news_figures_t *figures)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_progress_t progress;
    sb_sequencer_t *sequencer = NULL;
    sb_sequencer_config_t config = {
        .pg_uri = place_uri(news->place), .owner = "bench", .progress = &progress};
    round_t round;
    reader_t reader;
    probe_t probe;
    pthread_t threads[2];
    sb_progress_init(&progress);
    open_round(&round, news, &progress);
    open_reader(&reader, &round);
    bench_ok(sb_sequencer_open(&sequencer, &config, &err), &err, "open the sequencer");
    if (pthread_create(&threads[0], NULL, sequence, sequencer) != 0 ||
        pthread_create(&threads[1], NULL, read_news, &reader) != 0)
        bench_die("no thread for the reader");
    if (probed)
        start_probe(&probe, &round);
    run_writers(&round, number, true, &figures->rate);
    if (probed)
        stop_probe(&probe, figures);
    for (int i = 0; i < SETTLE_MS && atomic_load(&reader.count) < (int64_t)round.appends.count; i++)
        sb_sleep_ms(1);
    if (atomic_load(&reader.count) != (int64_t)round.appends.count)
        bench_die("%lld events were read of %zu", (long long)atomic_load(&reader.count), round.appends.count);
    sb_sequencer_stop(sequencer);
    (void)pthread_join(threads[0], NULL);
    atomic_store(&reader.stop, true);
    (void)pthread_join(threads[1], NULL);
    sb_sequencer_close(&sequencer);
    figures->read_p99 = latency_percentile_ms(&reader.latency, 99);
    figures->read_p50 = latency_percentile_ms(&reader.latency, 50);
    figures->append_p99 = latency_percentile_ms(&round.appends, 99);
    sb_store_close(&reader.store);
    sb_signal_fini(&reader.signal);
    latency_fini(&reader.latency);
    close_round(&round);
}

void news_store(void *context, int number, double *values)
{
    news_figures_t figures;
    run_store_round(context, number, false, &figures);
    values[0] = figures.read_p99;
    values[1] = figures.read_p50;
    values[2] = figures.append_p99;
    values[3] = figures.rate;
}

/* Whoever of the two is asked first runs the round. */
static const news_figures_t *probed_round(news_t *news, int number)
{
    if (news->probed != number + 1)
        run_store_round(news, PROBED_ROUNDS + number, true, &news->figures);
    news->probed = number + 1;
    return &news->figures;
}

void news_probed(void *context, int number, double *values)
{
    const news_figures_t *figures = probed_round(context, number);
    values[0] = figures->read_p99;
    values[1] = figures->read_p50;
}

void news_probe(void *context, int number, double *values)
{
    const news_figures_t *figures = probed_round(context, number);
    values[0] = figures->probe_p99;
    values[1] = figures->probe_p50;
}

void news_commit(void *context, int number, double *values)
{
    round_t round;
    open_round(&round, context, NULL);
    place_script(round.news->place, "TRUNCATE public.probe");
    run_writers(&round, number, false, &values[3]);
    values[0] = latency_percentile_ms(&round.appends, 99);
    values[1] = latency_percentile_ms(&round.appends, 50);
    close_round(&round);
}
