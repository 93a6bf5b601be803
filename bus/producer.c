/* librdkafka gives an idempotent producer's partition no further request while five of its messages are under
 * way, and looks again without a pause until the brokers have answered, as long as a message waits there
 * whose linger time is over (2.0.2, and as of 2.13 still). That is a processor spent on waiting, which on a
 * small machine the broker needs for its answer. So what would wait there waits here, in order, until the
 * reports are in: it is sent as early as it would have been. A partition whose leader is away answers for
 * minutes with nothing, and others of its topic must not wait for it: what is under way for longer than
 * PATIENCE_US is stuck, and while some is, nothing of its topic waits here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
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
#define FLUSH_STEP_MS   10
#define UNDER_WAY_MAX   5 /* of a topic: librdkafka's number for a partition */
#define HELD_MAX        4096
#define HELD_BYTES      65536   /* of one; what is larger is handed over at once */
#define PATIENCE_US     2000000 /* nothing waits here for longer */

/* A record that waits for the reports of those before it. */
typedef struct held {
    struct held *next;
    rd_kafka_headers_t *headers;
    uint64_t tag;
    int32_t partition;
    bool has_key, has_value;
    size_t key_len, value_len;
    char bytes[]; /* key and value */
} held_t;

typedef struct topic {
    rd_kafka_topic_t *handle;
    size_t under_way; /* handed to librdkafka and not reported */
    size_t stuck;     /* of these, those that were handed over before stuck_us */
    int64_t stuck_us; /* monotonic: when others had waited for them too long */
    int64_t held_us;  /* since when the first one waits */
    bool closed;      /* enough are, since the last poll: what comes now waits for them */
    held_t *first, *last;
} topic_t;

struct sb_producer {
    const sb_config_t *config;
    char client_id[CLIENT_ID_MAX];
    sb_producer_failed_fn on_failed;
    void *context;
    rd_kafka_t *handle; /* NULL after a fatal error, until a new one could be made */
    rd_kafka_queue_t *reports;
    topic_t topic[TOPICS_MAX];
    size_t topic_count;
    size_t held;
    size_t pending[2]; /* taken and not reported: before a cut and after it, by turns */
    unsigned after;    /* which of them is after */
    int wake_fd;       /* -1: nobody is to be woken */
    bool woken;        /* by a report: librdkafka writes to wake_fd */
    bool closing;
};

/* ---- reports ---- */

/* The highest bit of what librdkafka hands back says on which side of the cut a record is. */
#define SIDE_SHIFT 63
#define TAG_MASK   ((UINT64_C(1) << SIDE_SHIFT) - 1)

static void tell_failed(sb_producer_t *producer, const char *topic, rd_kafka_resp_err_t error, uint64_t tag)
{
    if (producer->closing || !producer->on_failed)
        return;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t ignored = sb_kafka_fail(&err, error, "send to %s", topic);
    (void)ignored;
    producer->on_failed(producer->context, tag & TAG_MASK, &err);
}

static void count_report(topic_t *topic, const rd_kafka_message_t *message)
{
    topic->under_way--;
    if (topic->stuck > 0 && sb_mono_us() - rd_kafka_message_latency(message) <= topic->stuck_us)
        topic->stuck--;
    if (topic->stuck > topic->under_way)
        topic->stuck = topic->under_way;
}

static void on_report(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    sb_producer_t *producer = opaque;
    uint64_t tag = (uint64_t)(uintptr_t)message->_private;
    for (size_t i = 0; i < producer->topic_count; i++)
        if (producer->topic[i].handle == message->rkt)
            count_report(&producer->topic[i], message);
    producer->pending[tag >> SIDE_SHIFT]--;
    rd_kafka_resp_err_t error = sb_kafka_report(message);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        tell_failed(producer, rd_kafka_topic_name(message->rkt), error, tag);
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
    code = sb_kafka_open(&producer->handle, RD_KAFKA_PRODUCER, conf, err);
    if (code == SB_OK)
        producer->reports = rd_kafka_queue_get_main(producer->handle);
    return code;
}

/* ---- held records ---- */

static void free_held(sb_producer_t *producer, topic_t *topic)
{
    held_t *record = topic->first;
    topic->first = record->next;
    if (!topic->first)
        topic->last = NULL;
    producer->held--;
    if (record->headers)
        rd_kafka_headers_destroy(record->headers);
    free(record);
}

static void drop_held(sb_producer_t *producer, topic_t *topic)
{
    while (topic->first) {
        uint64_t tag = topic->first->tag;
        free_held(producer, topic);
        producer->pending[tag >> SIDE_SHIFT]--;
        tell_failed(producer, rd_kafka_topic_name(topic->handle), RD_KAFKA_RESP_ERR__PURGE_QUEUE, tag);
    }
}

static void wake_by_reports(sb_producer_t *producer, bool wake)
{
    static const uint64_t one = 1; /* what an eventfd wants to be written */
    if (wake == producer->woken || producer->wake_fd < 0)
        return;
    rd_kafka_queue_io_event_enable(producer->reports, wake ? producer->wake_fd : -1, wake ? &one : NULL,
                                   wake ? sizeof one : 0);
    producer->woken = wake;
}

/* ---- the handle ---- */

/* Takes back what is not delivered: each such record is reported as failed. */
static void close_handle(sb_producer_t *producer)
{
    if (!producer->handle)
        return;
    for (size_t i = 0; i < producer->topic_count; i++)
        drop_held(producer, &producer->topic[i]);
    wake_by_reports(producer, false);
    rd_kafka_resp_err_t ignored =
        rd_kafka_purge(producer->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)ignored;
    for (int i = 0; i < CLOSE_SERVE_MAX && rd_kafka_outq_len(producer->handle) > 0; i++)
        (void)rd_kafka_poll(producer->handle, CLOSE_SERVE_MS);
    for (size_t i = 0; i < producer->topic_count; i++)
        rd_kafka_topic_destroy(producer->topic[i].handle);
    producer->topic_count = 0;
    if (producer->pending[0] + producer->pending[1] > 0) /* librdkafka keeps some for itself */
        tell_failed(producer, "some topics", RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, 0);
    producer->pending[0] = producer->pending[1] = 0;
    rd_kafka_queue_destroy(producer->reports);
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
    producer->wake_fd = -1;
    (void)snprintf(producer->client_id, sizeof producer->client_id, "%s", client_id ? client_id : "");
    sb_code_t code = open_handle(producer, err);
    if (code == SB_OK)
        *out = producer;
    else
        free(producer);
    return code;
}

/* ---- sending ---- */

static sb_code_t find_topic(sb_producer_t *producer, const char *name, topic_t **out, sb_error_t *err)
{
    for (size_t i = 0; i < producer->topic_count; i++) {
        *out = &producer->topic[i];
        if (strcmp(rd_kafka_topic_name((*out)->handle), name) == 0)
            return SB_OK;
    }
    if (producer->topic_count == TOPICS_MAX) {
        const topic_t *newest = &producer->topic[TOPICS_MAX - 1];
        if (newest->under_way > 0 || newest->first)
            return sb_fail(err, SB_BUSY, "send to %s: %d topics are in use", name, TOPICS_MAX);
        rd_kafka_topic_destroy(newest->handle);
        producer->topic_count--;
    }
    rd_kafka_topic_t *handle = rd_kafka_topic_new(producer->handle, name, NULL);
    if (!handle)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", name);
    *out = &producer->topic[producer->topic_count++];
    **out = (topic_t){.handle = handle};
    return SB_OK;
}

/* Takes the headers on success only. */
static rd_kafka_resp_err_t hand_over(sb_producer_t *producer, topic_t *topic, int32_t partition,
                                     sb_slice_t key, sb_slice_t value, uint64_t tag,
                                     rd_kafka_headers_t *headers)
{
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer->handle, RD_KAFKA_V_RKT(topic->handle), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key.ptr, key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value.ptr, value.len), RD_KAFKA_V_OPAQUE((void *)(uintptr_t)tag),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        topic->under_way++;
    return error;
}

/* Until librdkafka takes no more. */
static void release(sb_producer_t *producer, topic_t *topic)
{
    while (topic->first) {
        held_t *record = topic->first;
        sb_slice_t key = record->has_key ? (sb_slice_t){record->bytes, record->key_len} : SB_SLICE_NONE;
        sb_slice_t value = record->has_value
                               ? (sb_slice_t){record->bytes + record->key_len, record->value_len}
                               : SB_SLICE_NONE;
        rd_kafka_resp_err_t error =
            hand_over(producer, topic, record->partition, key, value, record->tag, record->headers);
        if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return;
        uint64_t tag = record->tag;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            record->headers = NULL;
        free_held(producer, topic);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        producer->pending[tag >> SIDE_SHIFT]--;
        tell_failed(producer, rd_kafka_topic_name(topic->handle), error, tag);
    }
}

/* Those that are under way have no answer for so long that nobody waits for them any more. */
static void note_stuck(topic_t *topic)
{
    int64_t now_us = sb_mono_us();
    if (now_us - topic->held_us < PATIENCE_US)
        return;
    topic->stuck = topic->under_way;
    topic->stuck_us = now_us;
}

/* What was sent between two polls goes out together, however much it is. */
static void release_due(sb_producer_t *producer)
{
    for (size_t i = 0; i < producer->topic_count; i++) {
        topic_t *topic = &producer->topic[i];
        if (topic->first && topic->stuck == 0 && topic->under_way >= UNDER_WAY_MAX)
            note_stuck(topic);
        if (topic->first && (topic->stuck > 0 || topic->under_way < UNDER_WAY_MAX))
            release(producer, topic);
        topic->closed = topic->stuck == 0 && topic->under_way >= UNDER_WAY_MAX;
    }
}

static void release_all(sb_producer_t *producer)
{
    for (size_t i = 0; i < producer->topic_count && producer->held > 0; i++)
        release(producer, &producer->topic[i]);
}

/* Takes the headers. False: no memory. */
static bool hold(sb_producer_t *producer, topic_t *topic, const sb_record_t *record, uint64_t tag,
                 rd_kafka_headers_t *headers)
{
    held_t *held = malloc(sizeof *held + record->key.len + record->value.len);
    if (!held)
        return false;
    *held = (held_t){.headers = headers,
                     .tag = tag,
                     .partition = record->partition,
                     .has_key = record->key.ptr != NULL,
                     .has_value = record->value.ptr != NULL,
                     .key_len = record->key.len,
                     .value_len = record->value.len};
    if (record->key.ptr)
        memcpy(held->bytes, record->key.ptr, record->key.len);
    if (record->value.ptr)
        memcpy(held->bytes + record->key.len, record->value.ptr, record->value.len);
    if (topic->last)
        topic->last->next = held;
    else
        topic->first = held;
    if (topic->first == held)
        topic->held_us = sb_mono_us();
    topic->last = held;
    producer->held++;
    return true;
}

static bool is_to_wait(const sb_producer_t *producer, const topic_t *topic, const sb_record_t *record)
{
    return topic->closed && producer->held < HELD_MAX && record->key.len + record->value.len <= HELD_BYTES;
}

sb_code_t sb_producer_send(sb_producer_t *producer, const sb_record_t *record, sb_error_t *err)
{
    topic_t *topic = NULL;
    rd_kafka_headers_t *headers = NULL;
    if (!producer->handle)
        return sb_fail(err, SB_UNAVAILABLE, "send to %s: no Kafka handle since a fatal error", record->topic);
    sb_code_t code = find_topic(producer, record->topic, &topic, err);
    if (code != SB_OK || !topic)
        return code;
    code = sb_kafka_headers(&headers, record->headers, record->header_count, err);
    if (code != SB_OK)
        return code;
    uint64_t tag = (record->tag & TAG_MASK) | (uint64_t)producer->after << SIDE_SHIFT;
    bool taken = is_to_wait(producer, topic, record) && hold(producer, topic, record, tag, headers);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!taken) { /* behind those that wait */
        release(producer, topic);
        error = topic->first
                    ? RD_KAFKA_RESP_ERR__QUEUE_FULL
                    : hand_over(producer, topic, record->partition, record->key, record->value, tag, headers);
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer->pending[producer->after]++;
        return SB_OK;
    }
    if (headers) /* consumed on success only */
        rd_kafka_headers_destroy(headers);
    return sb_kafka_fail(err, error, "send to %s", record->topic);
}

bool sb_producer_is_holding(const sb_producer_t *producer)
{
    return producer->held > 0;
}

void sb_producer_wake(sb_producer_t *producer, int fd)
{
    producer->wake_fd = fd;
}

/* ---- the cut ---- */

bool sb_producer_cut(sb_producer_t *producer)
{
    if (sb_producer_before_cut(producer) > 0)
        return false;
    producer->after ^= 1;
    return true;
}

size_t sb_producer_before_cut(const sb_producer_t *producer)
{
    return producer->pending[producer->after ^ 1];
}

/* ---- serving ---- */

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

static void serve(sb_producer_t *producer, int timeout_ms)
{
    (void)rd_kafka_poll(producer->handle, timeout_ms);
    release_due(producer);
}

void sb_producer_poll(sb_producer_t *producer, int timeout_ms)
{
    if (producer->handle) {
        serve(producer, timeout_ms);
        if (producer->held > 0 && !producer->woken && producer->wake_fd >= 0) {
            wake_by_reports(producer, true);
            serve(producer, 0); /* what came before librdkafka wakes anybody */
        }
        if (producer->held == 0)
            wake_by_reports(producer, false);
    }
    replace_if_fatal(producer);
}

sb_code_t sb_producer_flush(sb_producer_t *producer, int timeout_ms, sb_error_t *err)
{
    if (!producer->handle)
        return SB_OK; /* what was in it has been reported as failed */
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
        release_all(producer);
        error = rd_kafka_flush(producer->handle, FLUSH_STEP_MS);
        if (producer->held > 0)
            error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    } while (error == RD_KAFKA_RESP_ERR__TIMED_OUT && sb_mono_us() < until_us);
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
