/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/deliver.h"

#include "base/clock.h"
#include "bus/message.h"
#include "bus/relay/relay.h"
#include "bus/topic.h"
#include "events/store/sequencer.h"
#include "sagabus/store.h"
#include "tests/bench/append.h"
#include "tests/bench/latency.h"
#include "tests/bench/raw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WRITERS   4
#define WARM_S    0.5
#define OPEN_S    1.5      /* how long what opens may take without shortening the round */
#define PATIENCE  30000000 /* us, for the last ones */
#define HOT_RATE  2000
#define HOT_S     18.0
#define NUMBER_AT 15 /* where append_body has the number: {"order_id":"o-N */

/* The sending and the receiving of one round. */
typedef struct round {
    const deliver_t *deliver;
    sb_topic_t topic;
    int64_t count;
    _Atomic int64_t *sent_us; /* by number; 0: not yet */
    int64_t start_us;
    sb_progress_t progress;
} round_t;

typedef struct writer_of {
    round_t *round;
    int number;
    sb_store_t *store;
} writer_of_t;

/* ---- a round ---- */

static void open_round(round_t *r, deliver_t *deliver)
{
    char prefix[80];
    sb_error_t err = SB_ERROR_INIT;
    *r = (round_t){.deliver = deliver,
                   .count = (int64_t)(deliver->rate * (deliver->seconds + OPEN_S + WARM_S))};
    r->sent_us = calloc((size_t)r->count, sizeof *r->sent_us);
    if (!r->sent_us)
        bench_die("out of memory");
    (void)snprintf(prefix, sizeof prefix, "%s%d.", deliver->place->prefix, ++deliver->topics);
    bench_ok(sb_config_set(deliver->place->config, "kafka.prefix", prefix, &err), &err, "set kafka.prefix");
    bench_ok(sb_topic_events(r->topic, prefix, SB_SLICE("order"), &err), &err, "name a topic");
    place_make_topic(deliver->place, r->topic);
}

/* Waits until it is a number's turn; a late one goes at once. */
static void await_turn(const round_t *r, int64_t number)
{
    int64_t due = r->start_us + number * 1000000 / r->deliver->rate;
    int64_t left = due - sb_mono_us();
    if (left > 0)
        sb_sleep_us(left);
}

static int64_t number_of(const rd_kafka_message_t *message)
{
    char text[24] = "";
    size_t room = message->len > NUMBER_AT ? message->len - NUMBER_AT : 0;
    memcpy(text, (const char *)message->payload + NUMBER_AT, room < sizeof text - 1 ? room : sizeof text - 1);
    return strtoll(text, NULL, 10);
}

/* Consumes until all are there, and takes their times. */
static void receive(round_t *r, rd_kafka_t *consumer, double *values)
{
    latency_t latency = {.us = NULL};
    int64_t until = sb_mono_us() + (int64_t)((r->deliver->seconds + OPEN_S + WARM_S) * 1e6) + PATIENCE;
    int64_t warm_us = 0; /* what was sent since is counted */
    for (int64_t got = 0; got < r->count;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        int64_t now = sb_mono_us();
        if (now > until)
            bench_die("%lld of %lld events were delivered", (long long)got, (long long)r->count);
        if (message && !message->err) {
            int64_t number = number_of(message);
            int64_t sent = number >= 0 && number < r->count ? atomic_load(&r->sent_us[number]) : 0;
            if (got == 0)
                warm_us = now + (int64_t)(WARM_S * 1e6);
            /* One that overtook the answer of its own commit took no time. */
            if ((sent ? sent : now) >= warm_us)
                latency_add(&latency, sent ? now - sent : 0);
            got++;
        }
        if (message)
            rd_kafka_message_destroy(message);
    }
    if (latency.count == 0)
        bench_die("the first event came through after the last was sent");
    values[0] = latency_percentile_ms(&latency, 50);
    values[1] = latency_percentile_ms(&latency, 99);
    values[2] = (double)r->count * 1e6 / (double)(sb_mono_us() - r->start_us);
    latency_fini(&latency);
}

static void close_consumer(rd_kafka_t *consumer)
{
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

/* ---- ours ---- */

static void *write_events(void *context)
{
    writer_of_t *w = context;
    round_t *r = w->round;
    char key[32];
    char body[APPEND_BODY + 1];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(key, sizeof key, "d-%d-%d", r->deliver->topics, w->number);
    for (int64_t n = w->number; n < r->count; n += WRITERS) {
        sb_append_result_t result;
        append_body(body, n);
        sb_event_t event = {.type = SB_SLICE("order.created"), .data = {body, APPEND_BODY}};
        sb_append_t append = {.category = SB_SLICE("order"),
                              .key = sb_slice(key),
                              .expect = SB_EXPECT_ANY,
                              .events = &event,
                              .count = 1};
        await_turn(r, n);
        uint64_t era = sb_progress_era(&r->progress);
        bench_ok(sb_store_append(w->store, &append, &result, &err), &err, "append");
        atomic_store(&r->sent_us[n], sb_mono_us());
        sb_progress_appended(&r->progress, era, &result, append.count);
    }
    return NULL;
}

static void *run_sequencer(void *context)
{
    sb_sequencer_run(context);
    return NULL;
}

static void *run_relay(void *context)
{
    sb_relay_run(context);
    return NULL;
}

static pthread_t start(void *(*run)(void *), void *context)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, context) != 0)
        bench_die("no thread");
    return thread;
}

static void run_writers(round_t *r, rd_kafka_t *consumer, double *values)
{
    writer_of_t writer[WRITERS];
    pthread_t thread[WRITERS];
    sb_error_t err = SB_ERROR_INIT;
    sb_store_config_t config = {.pg_uri = place_uri(r->deliver->place), .application_name = "bench"};
    for (int i = 0; i < WRITERS; i++) {
        writer[i] = (writer_of_t){.round = r, .number = i};
        bench_ok(sb_store_open(&writer[i].store, &config, &err), &err, "open the store");
    }
    r->start_us = sb_mono_us();
    for (int i = 0; i < WRITERS; i++)
        thread[i] = start(write_events, &writer[i]);
    receive(r, consumer, values);
    for (int i = 0; i < WRITERS; i++) {
        (void)pthread_join(thread[i], NULL);
        sb_store_close(&writer[i].store);
    }
}

void deliver_store(void *context, int round, double *values)
{
    deliver_t *deliver = context;
    place_t *place = deliver->place;
    round_t r;
    sb_error_t err = SB_ERROR_INIT;
    sb_sequencer_t *sequencer = NULL;
    sb_relay_t *relay = NULL;
    (void)round;
    open_round(&r, deliver);
    place_script(
        place, "UPDATE sagabus.lease SET detail = '{}', owner = NULL, cursor = (SELECT coalesce(max(seq), 0) "
               "FROM sagabus.event) WHERE role = 'relay'");
    sb_progress_init(&r.progress);
    sb_sequencer_config_t ordering = {.pg_uri = place_uri(place), .owner = "bench", .progress = &r.progress};
    sb_relay_config_t relaying = {.config = place->config,
                                  .pg_uri = place_uri(place),
                                  .owner = "bench",
                                  .catalog = place->catalog,
                                  .progress = &r.progress};
    bench_ok(sb_sequencer_open(&sequencer, &ordering, &err), &err, "open the sequencer");
    bench_ok(sb_relay_open(&relay, &relaying, &err), &err, "open the relay");
    pthread_t orders = start(run_sequencer, sequencer);
    pthread_t relays = start(run_relay, relay);
    rd_kafka_t *consumer = raw_consumer(place->env->kafka_bootstrap, r.topic);
    run_writers(&r, consumer, values);
    close_consumer(consumer);
    sb_relay_stop(relay);
    (void)pthread_join(relays, NULL);
    sb_sequencer_stop(sequencer);
    (void)pthread_join(orders, NULL);
    sb_relay_close(&relay);
    sb_sequencer_close(&sequencer);
    free(r.sent_us);
}

/* ---- the reference ---- */

static void produce(const round_t *r, rd_kafka_t *handle, rd_kafka_topic_t *topic, int64_t n)
{
    char body[APPEND_BODY + 1];
    sb_message_headers_t made;
    sb_position_t position = {1, 1, n + 1, n};
    append_body(body, n);
    sb_event_t event = {.type = SB_SLICE("order.created"),
                        .schema_version = 1,
                        .source = SB_SLICE("/bench"),
                        .subject = SB_SLICE("d-1-1"),
                        .time_us = 1700000000000000 + n,
                        .data = {body, APPEND_BODY}};
    sb_message_encode(&event, &position, &made);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(made.count);
    for (size_t i = 0; i < made.count; i++)
        (void)rd_kafka_header_add(headers, made.header[i].name, -1, made.header[i].value.ptr,
                                  (ssize_t)made.header[i].value.len);
    atomic_store(&r->sent_us[n], sb_mono_us());
    rd_kafka_resp_err_t error = rd_kafka_producev(
        handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY("d-1-1", 5),
        RD_KAFKA_V_VALUE(body, APPEND_BODY), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("raw librdkafka: %s", rd_kafka_err2str(error));
}

static void *produce_all(void *context)
{
    round_t *r = context;
    rd_kafka_t *handle = raw_producer(r->deliver->place->env->kafka_bootstrap, "0.5");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, r->topic, NULL);
    for (int64_t n = 0; n < r->count; n++) {
        await_turn(r, n);
        produce(r, handle, topic, n);
        (void)rd_kafka_poll(handle, 0);
    }
    (void)rd_kafka_flush(handle, PATIENCE / 1000);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
    return NULL;
}

void deliver_raw(void *context, int round, double *values)
{
    deliver_t *deliver = context;
    round_t r;
    (void)round;
    open_round(&r, deliver);
    rd_kafka_t *consumer = raw_consumer(deliver->place->env->kafka_bootstrap, r.topic);
    r.start_us = sb_mono_us();
    pthread_t thread = start(produce_all, &r);
    receive(&r, consumer, values);
    (void)pthread_join(thread, NULL);
    close_consumer(consumer);
    free(r.sent_us);
}

/* ---- before ---- */

void deliver_warm(deliver_t *deliver)
{
    double values[BENCH_VALUES_MAX];
    deliver_t hot = *deliver;
    hot.rate = HOT_RATE;
    hot.seconds = HOT_S;
    deliver_raw(&hot, 0, values);
    hot.rate = deliver->rate;
    hot.seconds = 1.0;
    deliver_store(&hot, 0, values);
    deliver->topics = hot.topics;
}
