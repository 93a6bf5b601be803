/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_tail.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/kafka.h"
#include "bus/message.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ASK_MS 250

/* One partition that is being read. */
typedef struct wanted {
    rd_kafka_topic_t *topic;
    int32_t partition;
    bool done;
} wanted_t;

typedef struct tail {
    const sb_config_t *config;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    wanted_t *wanted;
    size_t count;
    int64_t until_us;
    const atomic_bool *stopping;
} tail_t;

static int left_ms(const tail_t *t)
{
    int64_t left = (t->until_us - sb_mono_us()) / 1000;
    return left < 1 ? 1 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Where nobody answers, a stop is seen after a quarter of a second, later the longer it has lasted already: a
 * cluster that is only slow must be given the time for one answer. */
static rd_kafka_resp_err_t ask_topics(const tail_t *t, const struct rd_kafka_metadata **metadata)
{
    int wait_ms = FIRST_ASK_MS;
    for (;; wait_ms *= 2) {
        rd_kafka_resp_err_t error =
            rd_kafka_metadata(t->handle, 1, NULL, metadata, wait_ms < left_ms(t) ? wait_ms : left_ms(t));
        bool again = error == RD_KAFKA_RESP_ERR__TRANSPORT || error == RD_KAFKA_RESP_ERR__TIMED_OUT;
        if (!again || sb_mono_us() >= t->until_us || atomic_load(t->stopping))
            return error;
    }
}

/* A category is one label: a dot in it is another installation's prefix, whose topics are none of ours. */
static bool is_events_topic(const tail_t *t, const char *name)
{
    sb_slice_t category;
    return sb_topic_is_events(name, sb_config_get(t->config, "kafka.prefix"), &category) &&
           memchr(category.ptr, '.', category.len) == NULL;
}

static sb_code_t ask_offsets(const tail_t *t, rd_kafka_topic_partition_list_t *list, int64_t which,
                             sb_error_t *err)
{
    int failed = 0;
    rd_kafka_resp_err_t error = sb_kafka_offsets(t->handle, list, which, left_ms(t), &failed);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        return SB_OK;
    const rd_kafka_topic_partition_t *one = &list->elems[failed];
    return sb_kafka_fail(err, error, "ask for the end of %s %d", one->topic, one->partition);
}

/* Begins to read the last record. */
static sb_code_t start(tail_t *t, const rd_kafka_topic_partition_t *end, sb_error_t *err)
{
    wanted_t *grown = realloc(t->wanted, (t->count + 1) * sizeof *grown);
    if (!grown)
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    t->wanted = grown;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(t->handle, end->topic, NULL);
    if (!handle || rd_kafka_consume_start_queue(handle, end->partition, end->offset - 1, t->queue) != 0) {
        if (handle)
            rd_kafka_topic_destroy(handle);
        return sb_kafka_fail(err, rd_kafka_last_error(), "read the end of %s %d", end->topic, end->partition);
    }
    t->wanted[t->count++] = (wanted_t){handle, end->partition, false};
    return SB_OK;
}

static sb_code_t start_each(tail_t *t, rd_kafka_topic_partition_list_t *ends, sb_error_t *err)
{
    if (ends->cnt == 0)
        return SB_OK;
    rd_kafka_topic_partition_list_t *firsts = rd_kafka_topic_partition_list_copy(ends);
    sb_code_t code = ask_offsets(t, firsts, RD_KAFKA_OFFSET_BEGINNING, err);
    if (code == SB_OK)
        code = ask_offsets(t, ends, RD_KAFKA_OFFSET_END, err);
    for (int i = 0; i < ends->cnt && code == SB_OK; i++)
        if (ends->elems[i].offset > firsts->elems[i].offset)
            code = start(t, &ends->elems[i], err);
    rd_kafka_topic_partition_list_destroy(firsts);
    return code;
}

static sb_code_t start_all(tail_t *t, sb_error_t *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = ask_topics(t, &metadata);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "ask Kafka for its topics");
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_new(64);
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &metadata->topics[i];
        for (int p = 0; is_events_topic(t, topic->topic) && p < topic->partition_cnt; p++)
            (void)rd_kafka_topic_partition_list_add(ends, topic->topic, topic->partitions[p].id);
    }
    rd_kafka_metadata_destroy(metadata);
    sb_code_t code = start_each(t, ends, err);
    rd_kafka_topic_partition_list_destroy(ends);
    return code;
}

static wanted_t *find_wanted(const tail_t *t, const rd_kafka_message_t *message)
{
    for (size_t i = 0; message->rkt && i < t->count; i++)
        if (t->wanted[i].partition == message->partition &&
            strcmp(rd_kafka_topic_name(t->wanted[i].topic), rd_kafka_topic_name(message->rkt)) == 0)
            return &t->wanted[i];
    return NULL;
}

static sb_code_t visit_message(const rd_kafka_message_t *from, sb_relay_tail_fn visit, void *context,
                               sb_error_t *err)
{
    sb_message_t message;
    sb_relay_tail_t tail = {.partition = from->partition};
    sb_kafka_message(from, &message);
    sb_slice_t id = sb_message_header(&message, "ce_id");
    if (!sb_position_parse(sb_message_header(&message, SB_POSITION_HEADER), &tail.position) || !id.ptr ||
        !sb_uuid_parse(id.ptr, id.len, &tail.id))
        return SB_OK; /* not a record of a relay */
    (void)snprintf(tail.topic, sizeof tail.topic, "%s", message.topic);
    return visit(context, &tail, err);
}

static sb_code_t collect(tail_t *t, sb_relay_tail_fn visit, void *context, sb_error_t *err)
{
    size_t done = 0;
    sb_code_t code = SB_OK;
    while (done < t->count && code == SB_OK && sb_mono_us() < t->until_us) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(t->queue, left_ms(t));
        if (!message)
            break;
        wanted_t *wanted = find_wanted(t, message);
        if (wanted && !wanted->done) {
            wanted->done = true;
            done++;
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                code = visit_message(message, visit, context, err);
        }
        rd_kafka_message_destroy(message);
    }
    if (done < t->count && code == SB_OK)
        sb_log(SB_LOG_WARN, "RELAY-TAIL", "the last records of some partitions could not be read|missing=%zu",
               t->count - done);
    return code;
}

static void close_tail(tail_t *t)
{
    for (size_t i = 0; i < t->count; i++) {
        (void)rd_kafka_consume_stop(t->wanted[i].topic, t->wanted[i].partition);
        rd_kafka_topic_destroy(t->wanted[i].topic);
    }
    free(t->wanted);
    if (t->queue)
        rd_kafka_queue_destroy(t->queue);
    if (t->handle)
        rd_kafka_destroy(t->handle);
}

sb_code_t sb_relay_tail_each(const sb_config_t *config, int timeout_ms, const atomic_bool *stopping,
                             sb_relay_tail_fn visit, void *context, sb_error_t *err)
{
    tail_t t = {
        .config = config, .until_us = sb_mono_us() + (int64_t)timeout_ms * 1000, .stopping = stopping};
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, config, SB_KAFKA_READER, "sagabus-relay", err);
    /* A partition read to its end waits for more, and others of its broker that begin later wait behind it.
     */
    if (code == SB_OK)
        (void)rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
    if (code == SB_OK)
        code = sb_kafka_open(&t.handle, RD_KAFKA_CONSUMER, conf, err);
    if (code == SB_OK) {
        t.queue = rd_kafka_queue_new(t.handle);
        code = start_all(&t, err);
    }
    if (code == SB_OK)
        code = collect(&t, visit, context, err);
    close_tail(&t);
    return code;
}
