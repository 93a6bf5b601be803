/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/subscribe.h"

#include "base/clock.h"
#include "bus/message.h"
#include "bus/subscriber/subscriber.h"
#include "bus/topic.h"
#include "tests/bench/append.h"
#include "tests/bench/place.h"
#include "tests/bench/raw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVENTS  200000
#define BODY    256
#define BATCH   500
#define KEYS    1000
#define WAIT_MS 60000
#define SCHEMA  "service"

/* One topic with events, and what is done with them. */
typedef struct subscribe {
    place_t *place;
    sb_topic_t topic;
    int64_t count;
    bool headers;  /* the raw consumer reads type and id of each */
    bool database; /* a row an event */
    int rounds;    /* so far: each is a group of its own */

    atomic_llong handled; /* of the round */
    atomic_llong first_us;
    int64_t last_us;
    double from_cpu_us; /* of the process, when it opens its consumer */
} subscribe_t;

/* ---- the events ---- */

static void send_event(rd_kafka_t *handle, rd_kafka_topic_t *topic, const sb_message_headers_t *headers,
                       sb_slice_t key, const char *body)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new(headers->count);
    for (size_t i = 0; i < headers->count; i++)
        (void)rd_kafka_header_add(list, headers->header[i].name, -1, headers->header[i].value.ptr,
                                  (ssize_t)headers->header[i].value.len);
    for (;;) {
        rd_kafka_resp_err_t error = rd_kafka_producev(
            handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(key.ptr, key.len), RD_KAFKA_V_VALUE((void *)(uintptr_t)body, BODY),
            RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            bench_die("raw librdkafka: %s", rd_kafka_err2str(error));
        (void)rd_kafka_poll(handle, 1);
    }
}

static void fill_topic(const subscribe_t *s, bool positions)
{
    char body[BODY + 1];
    rd_kafka_t *handle = raw_producer(s->place->env->kafka_bootstrap, "5");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, s->topic, NULL);
    memset(body, 'x', sizeof body);
    (void)snprintf(body, sizeof body, "{\"text\":\"%*s\"}", BODY - 11, "");
    for (int64_t i = 0; i < s->count; i++) {
        char key[32];
        sb_message_headers_t headers;
        sb_position_t position = {1, 1, i + 1, i};
        (void)snprintf(key, sizeof key, "o-%lld", (long long)(i % KEYS));
        sb_event_t event = {.id = sb_uuid_v7(),
                            .type = SB_SLICE("order.created"),
                            .schema_version = 1,
                            .subject = sb_slice(key),
                            .time_us = sb_wall_us()};
        sb_message_encode(&event, positions ? &position : NULL, &headers);
        send_event(handle, topic, &headers, sb_slice(key), body);
    }
    if (rd_kafka_flush(handle, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("raw librdkafka: not all acknowledged after %d ms", WAIT_MS);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
}

/* ---- a row an event, the same on both sides ---- */

typedef struct rows {
    sb_pg_array_t ids, keys, bodies;
} rows_t;

static void rows_init(rows_t *rows)
{
    sb_pg_array_init(&rows->ids, SB_PG_UUID);
    sb_pg_array_init(&rows->keys, SB_PG_TEXT);
    sb_pg_array_init(&rows->bodies, SB_PG_BYTEA);
}

static void rows_reset(rows_t *rows)
{
    sb_pg_array_reset(&rows->ids);
    sb_pg_array_reset(&rows->keys);
    sb_pg_array_reset(&rows->bodies);
}

static void rows_fini(rows_t *rows)
{
    sb_pg_array_fini(&rows->ids);
    sb_pg_array_fini(&rows->keys);
    sb_pg_array_fini(&rows->bodies);
}

static void rows_add(rows_t *rows, sb_slice_t id, sb_slice_t key, sb_slice_t body)
{
    sb_uuid_t uuid;
    if (!sb_uuid_parse(id.ptr, id.len, &uuid))
        bench_die("an event without a UUID");
    sb_pg_array_add_uuid(&rows->ids, &uuid);
    sb_pg_array_add_slice(&rows->keys, key);
    sb_pg_array_add_slice(&rows->bodies, body);
}

static void rows_insert(const rows_t *rows, PGconn *conn)
{
    static const char sql[] = "INSERT INTO " SCHEMA ".effect (id, key, body) "
                              "SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])";
    const char *values[3];
    int formats[3] = {1, 1, 1};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_array(&params, &rows->ids);
    sb_pg_add_array(&params, &rows->keys);
    sb_pg_add_array(&params, &rows->bodies);
    for (int i = 0; i < 3; i++)
        values[i] = params.value[i];
    PGresult *result = PQexecParams(conn, sql, 3, params.type, values, params.length, formats, 1);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        bench_die("insert: %s", PQerrorMessage(conn));
    PQclear(result);
}

static void empty_tables(const subscribe_t *s)
{
    if (s->database)
        place_script(s->place,
                     "TRUNCATE " SCHEMA ".effect, " SCHEMA ".inbox, " SCHEMA ".position; CHECKPOINT");
}

static double cpu_us(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static double rate(const subscribe_t *s, int64_t first_us, int64_t last_us)
{
    return (double)s->count * 1e6 / (double)(last_us - first_us);
}

/* ---- ours ---- */

static sb_code_t on_events(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                           sb_error_t *err)
{
    subscribe_t *s = context;
    static _Thread_local rows_t rows;
    (void)err;
    if (atomic_load(&s->first_us) == 0)
        atomic_store(&s->first_us, sb_mono_us());
    if (s->database) {
        if (!rows.ids.element)
            rows_init(&rows);
        rows_reset(&rows);
        for (size_t i = 0; i < count; i++)
            rows_add(&rows, deliveries[i].id, deliveries[i].key, deliveries[i].event.data);
        rows_insert(&rows, (PGconn *)conn);
    }
    atomic_fetch_add(&s->handled, (long long)count);
    return SB_OK;
}

static void *run_subscriber(void *context)
{
    sb_error_t err = SB_ERROR_INIT;
    bench_ok(sb_subscriber_run(context, &err), &err, "run the subscriber");
    return NULL;
}

/* Until the last event is committed, not only handled. */
static void await_all(subscribe_t *s, const sb_subscriber_t *subscriber)
{
    sb_subscription_stats_t stats = {.handled = 0};
    int64_t until_us = sb_mono_us() + WAIT_MS * 1000;
    for (; stats.handled < s->count; sb_subscriber_stats(subscriber, 0, &stats)) {
        if (sb_mono_us() > until_us)
            bench_die("%lld of %lld events after %d ms", (long long)stats.handled, (long long)s->count,
                      WAIT_MS);
        sb_sleep_ms(1);
    }
    s->last_us = sb_mono_us();
}

static void subscribe_ours(void *context, int round, double *values)
{
    static const char *const types[] = {"order.created"};
    subscribe_t *s = context;
    char group[64];
    pthread_t thread;
    sb_error_t err = SB_ERROR_INIT;
    sb_subscriber_t *subscriber = NULL;
    const char *const topics[] = {s->topic};
    (void)round;
    (void)snprintf(group, sizeof group, "round-%d", ++s->rounds);
    sb_subscription_t subscription = {.name = "bench",
                                      .types = types,
                                      .type_count = 1,
                                      .on_events = on_events,
                                      .context = s,
                                      .batch_max = BATCH};
    sb_subscriber_config_t config = {.group = group,
                                     .pg_uri = s->database ? place_uri(s->place) : NULL,
                                     .schema = SCHEMA,
                                     .topics = topics,
                                     .topic_count = 1,
                                     .subscriptions = &subscription,
                                     .subscription_count = 1};
    empty_tables(s);
    atomic_store(&s->handled, 0);
    atomic_store(&s->first_us, 0);
    s->from_cpu_us = cpu_us();
    bench_ok(sb_subscriber_new(&subscriber, s->place->config, &config, &err), &err, "open the subscriber");
    if (pthread_create(&thread, NULL, run_subscriber, subscriber) != 0)
        bench_die("no thread for the subscriber");
    await_all(s, subscriber);
    values[0] = rate(s, atomic_load(&s->first_us), s->last_us);
    values[1] = (cpu_us() - s->from_cpu_us) / (double)s->count;
    sb_subscriber_stop(subscriber);
    (void)pthread_join(thread, NULL);
    sb_subscriber_close(&subscriber);
    if (s->database && place_int(s->place, "SELECT count(*) FROM " SCHEMA ".effect") != s->count)
        bench_die("the effects are not as many as the events");
}

/* ---- librdkafka and libpq alone ---- */

static sb_slice_t header(rd_kafka_headers_t *headers, const char *name)
{
    const void *value = NULL;
    size_t size = 0;
    if (rd_kafka_header_get_last(headers, name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("an event without %s", name);
    return (sb_slice_t){value, size};
}

/* Type and id, as who wants to know what an event is must. */
static sb_slice_t read_headers(const rd_kafka_message_t *message)
{
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("an event without headers");
    if (!sb_slice_is(header(headers, "ce_type"), "order.created"))
        bench_die("another type");
    return header(headers, "ce_id");
}

static void commit(PGconn *conn, const rows_t *rows)
{
    PQclear(PQexec(conn, "BEGIN"));
    rows_insert(rows, conn);
    PGresult *result = PQexec(conn, "COMMIT");
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        bench_die("commit: %s", PQerrorMessage(conn));
    PQclear(result);
}

static void subscribe_raw(void *context, int round, double *values)
{
    subscribe_t *s = context;
    rows_t rows;
    int64_t first_us = 0;
    int64_t until_us = sb_mono_us() + WAIT_MS * 1000;
    PGconn *conn = s->database ? raw_connect(place_uri(s->place), NULL) : NULL;
    (void)round;
    rows_init(&rows);
    empty_tables(s);
    s->from_cpu_us = cpu_us();
    rd_kafka_t *handle = raw_consumer(s->place->env->kafka_bootstrap, s->topic);
    for (int64_t n = 0; n < s->count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(handle, 100);
        if (sb_mono_us() > until_us)
            bench_die("raw librdkafka: %lld of %lld events", (long long)n, (long long)s->count);
        if (!message)
            continue;
        if (message->err)
            bench_die("raw librdkafka: %s", rd_kafka_message_errstr(message));
        if (first_us == 0)
            first_us = sb_mono_us();
        if (s->headers || s->database) {
            sb_slice_t id = read_headers(message);
            if (s->database)
                rows_add(&rows, id, (sb_slice_t){message->key, message->key_len},
                         (sb_slice_t){message->payload, message->len});
        }
        n++;
        if (s->database && (n % BATCH == 0 || n == s->count)) {
            commit(conn, &rows);
            rows_reset(&rows);
        }
        rd_kafka_message_destroy(message);
    }
    values[0] = rate(s, first_us, sb_mono_us());
    values[1] = (cpu_us() - s->from_cpu_us) / (double)s->count;
    (void)rd_kafka_consumer_close(handle);
    rd_kafka_destroy(handle);
    rows_fini(&rows);
    PQfinish(conn);
}

/* ---- the pairs ---- */

static void compare(const bench_env_t *env, const bench_measure_t *measures, subscribe_t *s,
                    bench_results_t *results)
{
    const bench_pair_t pair = {"subscribe", measures, subscribe_ours, subscribe_raw, s};
    double warm[BENCH_VALUES_MAX];
    subscribe_raw(s, 0, warm);
    subscribe_ours(s, 0, warm);
    bench_compare(env, &pair, results);
}

static void open_topic(subscribe_t *s, place_t *place, const char *category, bool positions, double scale)
{
    sb_error_t err = SB_ERROR_INIT;
    *s = (subscribe_t){.place = place, .count = (int64_t)(EVENTS * scale)};
    bench_ok(sb_topic_events(s->topic, place->prefix, sb_slice(category), &err), &err, "name a topic");
    place_make_topic(place, s->topic);
    fill_topic(s, positions);
}

void bench_subscribe(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t plain[] = {
        {"plain, beside a consumer that reads type and id", "events/s",
         "raw librdkafka, same topic and settings", 0.7, false},
        {"of it, processor time an event", "us", "raw librdkafka, same topic and settings", 0, true},
        {.name = NULL}};
    static const bench_measure_t blind[] = {{"plain, beside a consumer that looks at no header", "events/s",
                                             "raw librdkafka, same topic and settings", 0, false},
                                            {.name = NULL}};
    static const bench_measure_t stored[] = {
        {"inbox, position and a row in one transaction", "events/s",
         "raw consume, the same rows in the same batches", 0.6, false},
        {"of it, processor time an event", "us", "raw consume, the same rows in the same batches", 0, true},
        {.name = NULL}};
    static const bench_measure_t positioned[] = {{"events of the store: position and a row", "events/s",
                                                  "raw consume, the same rows in the same batches", 0, false},
                                                 {.name = NULL}};
    place_t place;
    subscribe_t with, without;
    place_open(&place, env, "subscribe");
    place_add_client(&place, SCHEMA);
    place_script(&place, "CREATE TABLE " SCHEMA
                         ".effect (id uuid PRIMARY KEY, key text NOT NULL, body bytea NOT NULL)");
    open_topic(&with, &place, "order", true, env->scale);
    open_topic(&without, &place, "other", false, env->scale);
    if (bench_wants(env, "plain")) {
        with.headers = true;
        compare(env, plain, &with, results);
        with.headers = false;
        compare(env, blind, &with, results);
    }
    if (bench_wants(env, "stored")) {
        with.database = without.database = true;
        compare(env, stored, &without, results);
        compare(env, positioned, &with, results);
    }
    place_close(&place);
}
