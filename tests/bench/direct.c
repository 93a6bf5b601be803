/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/direct.h"

#include "base/clock.h"
#include "bus/message.h"
#include "bus/publisher.h"
#include "bus/topic.h"
#include "tests/bench/raw.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BODY    256
#define KEYS    1000
#define WAIT_MS 60000

struct direct_record {
    char key[16];
    char body[BODY + 1];
    char id[SB_UUID_TEXT];
    char time[SB_TIME_TEXT];
};

static void fill(direct_record_t *record, int64_t i)
{
    sb_uuid_t id = sb_uuid_v7();
    (void)snprintf(record->key, sizeof record->key, "o-%lld", (long long)(i % KEYS));
    int n = snprintf(record->body, sizeof record->body, "{\"order_id\":\"o-%lld\",\"note\":\"", (long long)i);
    memset(record->body + n, 'x', (size_t)(BODY - 2 - n));
    memcpy(record->body + BODY - 2, "\"}", 3);
    (void)sb_uuid_format(&id, record->id);
    (void)sb_time_format(sb_wall_us(), record->time);
}

void direct_open(direct_t *direct, place_t *place, int64_t count)
{
    *direct = (direct_t){.place = place, .count = count};
    direct->record = calloc((size_t)count, sizeof *direct->record);
    if (!direct->record)
        bench_die("out of memory");
    for (int64_t i = 0; i < count; i++)
        fill(&direct->record[i], i);
}

void direct_close(direct_t *direct)
{
    free(direct->record);
}

/* A prefix that no round had, with the topic made. */
static void new_topic(direct_t *direct, sb_topic_t topic)
{
    char prefix[80];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(prefix, sizeof prefix, "%s%d.", direct->place->prefix, ++direct->topics);
    bench_ok(sb_config_set(direct->place->config, "kafka.prefix", prefix, &err), &err, "set kafka.prefix");
    bench_ok(sb_topic_direct(topic, prefix, SB_SLICE("order"), &err), &err, "name a topic");
    place_make_topic(direct->place, topic);
}

/* Of all threads of this process: steadier than the clock on a machine that others use too. */
static double cpu_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---- ours ---- */

static void on_published(void *context, const sb_published_t *published)
{
    int64_t *reports = context;
    bench_ok(published->err ? published->err->code : SB_OK, published->err, "publish");
    ++*reports;
}

void direct_publisher(void *context, int round, double *values)
{
    direct_t *direct = context;
    sb_topic_t topic;
    sb_error_t err = SB_ERROR_INIT;
    sb_publisher_t *publisher = NULL;
    int64_t reports = 0;
    (void)round;
    new_topic(direct, topic);
    sb_publisher_config_t config = {.on_published = on_published, .context = &reports};
    int64_t from_us = sb_mono_us();
    double from_cpu = cpu_us();
    bench_ok(sb_publisher_new(&publisher, direct->place->config, &config, &err), &err, "open the publisher");
    for (int64_t i = 0; i < direct->count; i++) {
        const direct_record_t *record = &direct->record[i];
        sb_event_t event = {.type = SB_SLICE("order.created"),
                            .schema_version = 1,
                            .subject = sb_slice(record->key),
                            .data = {record->body, BODY}};
        sb_code_t code;
        while ((code = sb_publisher_send(publisher, &event, NULL, (uint64_t)i, &err)) == SB_BUSY)
            sb_publisher_poll(publisher, 1);
        bench_ok(code, &err, "publish");
    }
    bench_ok(sb_publisher_flush(publisher, WAIT_MS, &err), &err, "flush");
    values[0] = (double)direct->count * 1e6 / (double)(sb_mono_us() - from_us);
    values[1] = (cpu_us() - from_cpu) / (double)direct->count;
    if (reports != direct->count)
        bench_die("%lld reports of %lld events", (long long)reports, (long long)direct->count);
    sb_publisher_close(&publisher);
}

/* ---- the reference ---- */

static void produce(rd_kafka_t *handle, rd_kafka_topic_t *topic, const direct_record_t *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    (void)rd_kafka_header_add(headers, "ce_specversion", -1, "1.0", 3);
    (void)rd_kafka_header_add(headers, "ce_id", -1, record->id, SB_UUID_TEXT - 1);
    (void)rd_kafka_header_add(headers, "ce_type", -1, "order.created", 13);
    (void)rd_kafka_header_add(headers, "ce_source", -1, "/sagabus", 8);
    (void)rd_kafka_header_add(headers, "ce_subject", -1, record->key, -1);
    (void)rd_kafka_header_add(headers, "ce_time", -1, record->time, -1);
    (void)rd_kafka_header_add(headers, "ce_dataschema", -1, "order.created.v1", 16);
    (void)rd_kafka_header_add(headers, "content-type", -1, "application/json", 16);
    for (;;) {
        rd_kafka_resp_err_t error =
            rd_kafka_producev(handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                              RD_KAFKA_V_KEY(record->key, strlen(record->key)),
                              RD_KAFKA_V_VALUE((void *)(uintptr_t)record->body, BODY),
                              RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            bench_die("raw librdkafka: %s", rd_kafka_err2str(error));
        (void)rd_kafka_poll(handle, 1);
    }
}

void direct_raw(void *context, int round, double *values)
{
    direct_t *direct = context;
    sb_topic_t name;
    (void)round;
    new_topic(direct, name);
    int64_t from_us = sb_mono_us();
    double from_cpu = cpu_us();
    rd_kafka_t *handle = raw_reporting_producer(direct->place->env->kafka_bootstrap, "0.2");
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, name, NULL);
    for (int64_t i = 0; i < direct->count; i++)
        produce(handle, topic, &direct->record[i]);
    if (rd_kafka_flush(handle, WAIT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("raw librdkafka: not all acknowledged after %d ms", WAIT_MS);
    values[0] = (double)direct->count * 1e6 / (double)(sb_mono_us() - from_us);
    values[1] = (cpu_us() - from_cpu) / (double)direct->count;
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
}

/* ---- the benchmark ---- */

#define EVENTS 400000

void bench_publish(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"direct, 256-byte bodies, one thread", "events/s", "raw librdkafka, same headers and settings", 0.8,
         false},
        {"of it, processor time an event", "us", "raw librdkafka, same headers and settings", 0, true},
        {.name = NULL}};
    place_t place;
    direct_t direct;
    double warm[BENCH_VALUES_MAX];
    place_open(&place, env, "direct");
    direct_open(&direct, &place, (int64_t)(EVENTS * env->scale));
    const bench_pair_t pair = {"publish", measures, direct_publisher, direct_raw, &direct};
    direct_raw(&direct, 0, warm);
    direct_publisher(&direct, 0, warm);
    bench_compare(env, &pair, results);
    direct_close(&direct);
    place_close(&place);
}
