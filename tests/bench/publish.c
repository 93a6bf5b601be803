/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/publish.h"

#include "base/clock.h"
#include "bus/message.h"
#include "bus/relay/relay.h"
#include "bus/topic.h"
#include "events/store/sequencer.h"
#include "sagabus/store.h"
#include "tests/bench/append.h"
#include "tests/bench/raw.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define STREAMS    1000
#define WAIT_MS    60000
#define READ_LIMIT 10000

/* A record as it goes to Kafka: key, value, headers. */
struct publish_record {
    char key[32];
    char *value;
    size_t length;
    size_t header_count;
    struct {
        const char *name;
        char *value;
        size_t length;
    } header[SB_HEADERS_MAX];
};

/* ---- the backlog ---- */

static void append_backlog(publish_t *publish)
{
    static char body[APPEND_BATCH_MAX][APPEND_BODY + 1];
    sb_event_t event[APPEND_BATCH_MAX];
    sb_error_t err = SB_ERROR_INIT;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = place_uri(publish->place), .application_name = "bench"};
    bench_ok(sb_store_open(&store, &config, &err), &err, "open the store");
    for (int64_t done = 0; done < publish->count; done += APPEND_BATCH_MAX) {
        char key[32];
        sb_append_result_t result;
        (void)snprintf(key, sizeof key, "o-%lld", (long long)(done / APPEND_BATCH_MAX % STREAMS));
        for (int i = 0; i < APPEND_BATCH_MAX; i++) {
            append_body(body[i], done + i);
            event[i] = (sb_event_t){.type = SB_SLICE("order.created"), .data = {body[i], APPEND_BODY}};
        }
        sb_append_t append = {.category = SB_SLICE("order"),
                              .key = sb_slice(key),
                              .expect = SB_EXPECT_ANY,
                              .events = event,
                              .count = APPEND_BATCH_MAX};
        bench_ok(sb_store_append(store, &append, &result, &err), &err, "append the backlog");
        publish->last_seq = result.last_seq;
    }
    sb_store_close(&store);
}

static void *run_sequencer(void *context)
{
    sb_sequencer_run(context);
    return NULL;
}

static void make_safe(const publish_t *publish)
{
    pthread_t thread;
    sb_error_t err = SB_ERROR_INIT;
    sb_sequencer_t *sequencer = NULL;
    sb_sequencer_stats_t stats = {.safe_seq = 0};
    sb_sequencer_config_t config = {.pg_uri = place_uri(publish->place), .owner = "bench"};
    bench_ok(sb_sequencer_open(&sequencer, &config, &err), &err, "open the sequencer");
    if (pthread_create(&thread, NULL, run_sequencer, sequencer) != 0)
        bench_die("no thread for the sequencer");
    int64_t until_us = sb_mono_us() + WAIT_MS * 1000;
    for (; stats.safe_seq < publish->last_seq; sb_sequencer_stats(sequencer, &stats)) {
        if (sb_mono_us() > until_us)
            bench_die("the backlog is not safe to read after %d ms: %lld of %lld", WAIT_MS,
                      (long long)stats.safe_seq, (long long)publish->last_seq);
        sb_sleep_ms(10);
    }
    sb_sequencer_stop(sequencer);
    (void)pthread_join(thread, NULL);
    sb_sequencer_close(&sequencer);
}

/* ---- the records of the reference ---- */

static char *copy(sb_slice_t bytes)
{
    char *out = malloc(bytes.len + 1);
    if (!out)
        bench_die("out of memory");
    memcpy(out, bytes.ptr, bytes.len);
    out[bytes.len] = '\0';
    return out;
}

typedef struct taking {
    publish_t *publish;
    int64_t count;
    int64_t seq; /* of the event before */
} taking_t;

static sb_code_t take_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    taking_t *taking = context;
    sb_position_t position = {1, 1, event->seq, taking->seq};
    sb_message_headers_t headers;
    (void)err;
    if (taking->count == taking->publish->count)
        bench_die("more events than were appended");
    publish_record_t *record = &taking->publish->record[taking->count++];
    taking->seq = event->seq;
    sb_message_encode(event, &position, &headers);
    (void)snprintf(record->key, sizeof record->key, "%.*s", SB_SLICE_ARG(event->subject));
    record->value = copy(event->data);
    record->length = event->data.len;
    record->header_count = headers.count;
    for (size_t i = 0; i < headers.count; i++) {
        record->header[i].name = headers.header[i].name;
        record->header[i].value = copy(headers.header[i].value);
        record->header[i].length = headers.header[i].value.len;
    }
    return SB_OK;
}

static void take_records(publish_t *publish)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = place_uri(publish->place), .application_name = "bench"};
    taking_t taking = {.publish = publish};
    publish->record = calloc((size_t)publish->count, sizeof *publish->record);
    if (!publish->record)
        bench_die("out of memory");
    bench_ok(sb_store_open(&store, &config, &err), &err, "open the store");
    for (int64_t seq = 0, before = -1; seq != before && seq < publish->last_seq;) {
        sb_read_all_t read = {.after_seq = seq, .limit = READ_LIMIT};
        before = seq;
        bench_ok(sb_store_read_all(store, &read, take_event, &taking, &seq, &err), &err, "read the backlog");
    }
    if (taking.count != publish->count)
        bench_die("read %lld events of %lld", (long long)taking.count, (long long)publish->count);
    sb_store_close(&store);
}

void publish_open(publish_t *publish, place_t *place, int64_t count)
{
    *publish = (publish_t){.place = place, .count = (count / APPEND_BATCH_MAX + 1) * APPEND_BATCH_MAX};
    append_backlog(publish);
    make_safe(publish);
    take_records(publish);
}

void publish_close(publish_t *publish)
{
    for (int64_t i = 0; i < publish->count; i++) {
        for (size_t h = 0; h < publish->record[i].header_count; h++)
            free(publish->record[i].header[h].value);
        free(publish->record[i].value);
    }
    free(publish->record);
}

/* ---- rounds ---- */

/* A prefix that no round had, with the topic made. */
static void new_topic(publish_t *publish, sb_topic_t topic)
{
    char prefix[80];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(prefix, sizeof prefix, "%s%d.", publish->place->prefix, ++publish->topics);
    bench_ok(sb_config_set(publish->place->config, "kafka.prefix", prefix, &err), &err, "set kafka.prefix");
    bench_ok(sb_topic_events(topic, prefix, SB_SLICE("order"), &err), &err, "name a topic");
    place_make_topic(publish->place, topic);
}

static void *run_relay(void *context)
{
    sb_relay_run(context);
    return NULL;
}

/* Returns when the first event went out. */
static int64_t await_relay(const sb_relay_t *relay, int64_t last_seq)
{
    sb_relay_stats_t stats = {.cursor = 0};
    int64_t first_us = 0;
    int64_t until_us = sb_mono_us() + WAIT_MS * 1000;
    for (; stats.cursor < last_seq; sb_relay_stats(relay, &stats)) {
        if (first_us == 0 && stats.sent > 0)
            first_us = sb_mono_us();
        if (sb_mono_us() > until_us)
            bench_die("the relay is at %lld of %lld after %d ms: %s", (long long)stats.cursor,
                      (long long)last_seq, WAIT_MS, stats.error);
        sb_sleep_ms(1);
    }
    return first_us ? first_us : sb_mono_us();
}

void publish_relay(void *context, int round, double *values)
{
    publish_t *publish = context;
    pthread_t thread;
    sb_topic_t topic;
    sb_relay_t *relay = NULL;
    sb_progress_t progress;
    sb_error_t err = SB_ERROR_INIT;
    (void)round;
    new_topic(publish, topic);
    place_script(publish->place,
                 "UPDATE sagabus.lease SET cursor = 0, detail = '{}', owner = NULL WHERE role = 'relay'");
    sb_progress_init(&progress);
    sb_progress_publish_safe(&progress, publish->last_seq);
    sb_relay_config_t config = {.config = publish->place->config,
                                .pg_uri = place_uri(publish->place),
                                .owner = "bench",
                                .catalog = publish->place->catalog,
                                .progress = &progress};
    int64_t from_us = sb_mono_us();
    bench_ok(sb_relay_open(&relay, &config, &err), &err, "open the relay");
    if (pthread_create(&thread, NULL, run_relay, relay) != 0)
        bench_die("no thread for the relay");
    int64_t first_us = await_relay(relay, publish->last_seq);
    values[0] = (double)publish->count * 1e6 / (double)(sb_mono_us() - from_us);
    values[1] = (double)(first_us - from_us) / 1000;
    sb_relay_stop(relay);
    (void)pthread_join(thread, NULL);
    sb_relay_close(&relay);
}

static void produce(rd_kafka_t *handle, rd_kafka_topic_t *topic, const publish_record_t *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t i = 0; i < record->header_count; i++)
        (void)rd_kafka_header_add(headers, record->header[i].name, -1, record->header[i].value,
                                  (ssize_t)record->header[i].length);
    for (;;) {
        rd_kafka_resp_err_t error = rd_kafka_producev(
            handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(record->key, strlen(record->key)), RD_KAFKA_V_VALUE(record->value, record->length),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            bench_die("raw librdkafka: %s", rd_kafka_err2str(error));
        (void)rd_kafka_poll(handle, 1);
    }
}

void publish_raw(void *context, int round, double *values)
{
    publish_t *publish = context;
    sb_topic_t name;
    (void)round;
    new_topic(publish, name);
    int64_t from_us = sb_mono_us();
    rd_kafka_t *handle = raw_producer(publish->place->env->kafka_bootstrap, "0.5");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, name, NULL);
    for (int64_t i = 0; i < publish->count; i++)
        produce(handle, topic, &publish->record[i]);
    if (rd_kafka_flush(handle, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("raw librdkafka: not all acknowledged after %d ms", WAIT_MS);
    values[0] = (double)publish->count * 1e6 / (double)(sb_mono_us() - from_us);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
}
