/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/producer.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/kafka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_ID_MAX   128
#define TOPICS_MAX      64 /* handles kept; past it the newest makes room */
#define CLOSE_SERVE_MS  100
#define CLOSE_SERVE_MAX 50
#define FLUSH_STEP_MS   1

struct sb_producer {
    const sb_config_t *config;
    char client_id[CLIENT_ID_MAX];
    sb_producer_failed_fn on_failed;
    void *context;
    rd_kafka_t *handle; /* NULL after a fatal error, until a new one could be made */
    rd_kafka_topic_t *topic[TOPICS_MAX];
    size_t topic_count;
    bool closing;
};

static void on_report(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    sb_producer_t *producer = opaque;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR || producer->closing || !producer->on_failed)
        return;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t ignored = sb_kafka_fail(&err, message->err, "send to %s", rd_kafka_topic_name(message->rkt));
    (void)ignored;
    producer->on_failed(producer->context, (uint64_t)(uintptr_t)message->_private, &err);
}

static sb_code_t open_handle(sb_producer_t *producer, sb_error_t *err)
{
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, producer->config, SB_KAFKA_PRODUCER,
                                   producer->client_id[0] ? producer->client_id : NULL, err);
    if (code != SB_OK)
        return code;
    rd_kafka_conf_set_opaque(conf, producer);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    return sb_kafka_open(&producer->handle, RD_KAFKA_PRODUCER, conf, err);
}

/* Takes back what is not delivered: each such record is reported as failed. */
static void close_handle(sb_producer_t *producer)
{
    if (!producer->handle)
        return;
    rd_kafka_resp_err_t ignored =
        rd_kafka_purge(producer->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)ignored;
    for (int i = 0; i < CLOSE_SERVE_MAX && rd_kafka_outq_len(producer->handle) > 0; i++)
        (void)rd_kafka_poll(producer->handle, CLOSE_SERVE_MS);
    for (size_t i = 0; i < producer->topic_count; i++)
        rd_kafka_topic_destroy(producer->topic[i]);
    producer->topic_count = 0;
    rd_kafka_destroy(producer->handle);
    producer->handle = NULL;
}

sb_code_t sb_producer_open(sb_producer_t **out, const sb_config_t *config, const char *client_id,
                           sb_producer_failed_fn on_failed, void *context, sb_error_t *err)
{
    *out = NULL;
    sb_producer_t *producer = calloc(1, sizeof *producer);
    if (!producer)
        return sb_fail(err, SB_NO_MEMORY, "producer: out of memory");
    producer->config = config;
    producer->on_failed = on_failed;
    producer->context = context;
    (void)snprintf(producer->client_id, sizeof producer->client_id, "%s", client_id ? client_id : "");
    sb_code_t code = open_handle(producer, err);
    if (code == SB_OK)
        *out = producer;
    else
        free(producer);
    return code;
}

static rd_kafka_topic_t *topic_handle(sb_producer_t *producer, const char *name)
{
    for (size_t i = 0; i < producer->topic_count; i++)
        if (strcmp(rd_kafka_topic_name(producer->topic[i]), name) == 0)
            return producer->topic[i];
    if (producer->topic_count == TOPICS_MAX)
        rd_kafka_topic_destroy(producer->topic[--producer->topic_count]);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer->handle, name, NULL);
    if (topic)
        producer->topic[producer->topic_count++] = topic;
    return topic;
}

sb_code_t sb_producer_send(sb_producer_t *producer, const sb_record_t *record, sb_error_t *err)
{
    if (!producer->handle)
        return sb_fail(err, SB_UNAVAILABLE, "send to %s: no Kafka handle since a fatal error", record->topic);
    rd_kafka_topic_t *topic = topic_handle(producer, record->topic);
    if (!topic)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", record->topic);
    rd_kafka_headers_t *headers = NULL;
    sb_code_t code = sb_kafka_headers(&headers, record->headers, record->header_count, err);
    if (code != SB_OK)
        return code;
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer->handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(record->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(record->key.ptr, record->key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value.ptr, record->value.len),
        RD_KAFKA_V_OPAQUE((void *)(uintptr_t)record->tag), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        return SB_OK;
    if (headers) /* consumed on success only */
        rd_kafka_headers_destroy(headers);
    return sb_kafka_fail(err, error, "send to %s", record->topic);
}

/* An idempotent producer stops for good when the broker's and its own count of a partition do not fit. What
 * it had not delivered is reported as failed, and a new producer begins a new count. */
static void replace_if_fatal(sb_producer_t *producer)
{
    char text[256];
    if (producer->handle) {
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(producer->handle, text, sizeof text);
        if (fatal == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        sb_log(SB_LOG_ERROR, "PRODUCER-FATAL", "the producer is replaced|code=%d error=\"%s\"", (int)fatal,
               text);
        close_handle(producer);
    }
    sb_error_t err = SB_ERROR_INIT;
    if (open_handle(producer, &err) != SB_OK)
        sb_log_error(SB_LOG_ERROR, "PRODUCER-FATAL", &err, "no new producer");
}

void sb_producer_poll(sb_producer_t *producer, int timeout_ms)
{
    if (producer->handle)
        (void)rd_kafka_poll(producer->handle, timeout_ms);
    replace_if_fatal(producer);
}

sb_code_t sb_producer_flush(sb_producer_t *producer, int timeout_ms, sb_error_t *err)
{
    if (!producer->handle)
        return SB_OK; /* what was in it has been reported as failed */
    /* While no report wakes it (only failures do), librdkafka's flush looks every 10 ms: too seldom for a
     * participant, which flushes after each batch. */
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do
        error = rd_kafka_flush(producer->handle, FLUSH_STEP_MS);
    while (error == RD_KAFKA_RESP_ERR__TIMED_OUT && sb_mono_us() < until_us);
    replace_if_fatal(producer);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "flush");
}

void sb_producer_close(sb_producer_t **producer)
{
    if (!*producer)
        return;
    (*producer)->closing = true;
    close_handle(*producer);
    free(*producer);
    *producer = NULL;
}
