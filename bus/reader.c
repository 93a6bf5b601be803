/* Reads with librdkafka's simple consumer: it needs no group, so no coordinator and no ACL on one.
 *
 * What a partition's offset means depends on the cluster it was taken from. A broker whose data was wiped
 * comes back at the same address with another cluster id, and may hold records at the very offsets we ask
 * for. So after every lost connection nothing is handed over until the brokers have said their id again; if
 * it changed, the handle is thrown away (it caches the old log's limits) and all partitions are read from
 * their beginning.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/reader.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "bus/kafka.h"
#include "bus/prefetch.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_ID_MAX   128
#define CLUSTER_ID_MAX  128
#define BATCH_MAX       512
#define CONFIRM_WAIT_MS 200
#define ASK_MORE_MS     1000
#define DEAF_US         10000000
#define BEGINNING       (-1)

typedef struct part {
    rd_kafka_topic_t *topic; /* NULL: not started */
    char *name;
    int32_t number;
    int64_t next;                    /* offset to read next, BEGINNING */
    char cluster_id[CLUSTER_ID_MAX]; /* the cluster that `next` belongs to */
    bool restart;                    /* its offset was not to be had */
} part_t;

/* A question to the brokers, asked by a thread of its own. */
typedef enum asking { NOT_ASKED, ASKED, HEARD, UNHEARD } asking_t;

struct sb_reader {
    const sb_config_t *config;
    char client_id[CLIENT_ID_MAX];
    rd_kafka_t *handle;
    sb_prefetch_t prefetch;
    rd_kafka_queue_t *queue;      /* messages of all partitions */
    rd_kafka_queue_t *main_queue; /* errors of the handle */
    sb_signal_t signal;
    part_t *part;
    size_t part_count;
    char cluster_id[CLUSTER_ID_MAX];
    bool confirmed;         /* cluster_id was heard since the last lost connection */
    _Atomic asking_t asked; /* for it */
    pthread_t asker;        /* to be joined unless NOT_ASKED */
    int ask_ms;             /* patience with the answer */
    uint64_t errors;
    uint64_t errors_then; /* when it was asked */
    int64_t confirm_after_us;
    int64_t unheard_since_us; /* first confirmation that failed since the last that did not; 0: none */
    bool reset;               /* to be told to the caller */
    rd_kafka_message_t *batch[BATCH_MAX];
};

static void doubt(sb_reader_t *reader)
{
    reader->confirmed = false;
    reader->errors++;
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    sb_reader_t *reader = opaque;
    doubt(reader);
    sb_log(SB_LOG_WARN, "READER-ERROR", "%s|code=%d handle=%s", reason, code, rd_kafka_name(handle));
}

/* ---- the handle ---- */

static int fetch_wait_ms(const rd_kafka_conf_t *conf)
{
    char text[32] = "";
    size_t size = sizeof text;
    (void)rd_kafka_conf_get(conf, "fetch.wait.max.ms", text, &size);
    return atoi(text);
}

static sb_code_t open_handle(sb_reader_t *reader, sb_error_t *err)
{
    static const uint64_t one = 1; /* what an eventfd wants to be written */
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, reader->config, SB_KAFKA_READER,
                                   reader->client_id[0] ? reader->client_id : NULL, err);
    if (code != SB_OK)
        return code;
    reader->ask_ms = fetch_wait_ms(conf) + ASK_MORE_MS;
    rd_kafka_conf_set_opaque(conf, reader);
    rd_kafka_conf_set_error_cb(conf, on_error);
    code = sb_kafka_open(&reader->handle, RD_KAFKA_CONSUMER, conf, err);
    if (code != SB_OK)
        return code;
    sb_prefetch_init(&reader->prefetch, reader->handle);
    reader->queue = rd_kafka_queue_new(reader->handle);
    reader->main_queue = rd_kafka_queue_get_main(reader->handle);
    rd_kafka_queue_io_event_enable(reader->queue, reader->signal.fd, &one, sizeof one);
    rd_kafka_queue_io_event_enable(reader->main_queue, reader->signal.fd, &one, sizeof one);
    reader->confirmed = false;
    reader->confirm_after_us = 0;
    return SB_OK;
}

/* ---- asking ---- */

/* On a thread, because librdkafka knows no metadata request that does not block, and the answer may take as
 * long as a fetch that waits for messages on the same connection (fetch.wait.max.ms): too long for our
 * owner's turn, and with less patience it never came. */
static void *ask(void *context)
{
    sb_reader_t *reader = context;
    const struct rd_kafka_metadata *metadata = NULL;
    bool heard =
        rd_kafka_metadata(reader->handle, 0, NULL, &metadata, reader->ask_ms) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (heard)
        rd_kafka_metadata_destroy(metadata);
    atomic_store(&reader->asked, heard ? HEARD : UNHEARD);
    sb_signal_raise(&reader->signal);
    return NULL;
}

/* What was answered; waits for it while ASKED. */
static asking_t take_answer(sb_reader_t *reader)
{
    if (atomic_load(&reader->asked) == NOT_ASKED)
        return NOT_ASKED;
    (void)pthread_join(reader->asker, NULL);
    return atomic_exchange(&reader->asked, NOT_ASKED);
}

static void stop_part(part_t *part)
{
    if (!part->topic)
        return;
    (void)rd_kafka_consume_stop(part->topic, part->number);
    rd_kafka_topic_destroy(part->topic);
    part->topic = NULL;
}

static void close_handle(sb_reader_t *reader)
{
    if (!reader->handle)
        return;
    (void)take_answer(reader);
    for (size_t i = 0; i < reader->part_count; i++)
        stop_part(&reader->part[i]);
    rd_kafka_queue_io_event_enable(reader->queue, -1, NULL, 0);
    rd_kafka_queue_io_event_enable(reader->main_queue, -1, NULL, 0);
    rd_kafka_queue_destroy(reader->queue);
    rd_kafka_queue_destroy(reader->main_queue);
    rd_kafka_destroy(reader->handle);
    reader->handle = NULL;
}

sb_code_t sb_reader_open(sb_reader_t **out, const sb_config_t *config, const char *client_id, sb_error_t *err)
{
    *out = NULL;
    sb_reader_t *reader = calloc(1, sizeof *reader);
    if (!reader)
        return sb_fail(err, SB_NO_MEMORY, "reader: out of memory");
    reader->config = config;
    (void)snprintf(reader->client_id, sizeof reader->client_id, "%s", client_id ? client_id : "");
    reader->signal.fd = -1;
    sb_code_t code = sb_signal_init(&reader->signal, err);
    if (code == SB_OK)
        code = open_handle(reader, err);
    if (code == SB_OK)
        *out = reader;
    else
        sb_reader_close(&reader);
    return code;
}

void sb_reader_close(sb_reader_t **reader)
{
    if (!*reader)
        return;
    close_handle(*reader);
    for (size_t i = 0; i < (*reader)->part_count; i++)
        free((*reader)->part[i].name);
    free((*reader)->part);
    sb_signal_fini(&(*reader)->signal);
    free(*reader);
    *reader = NULL;
}

sb_signal_t *sb_reader_signal(sb_reader_t *reader)
{
    return &reader->signal;
}

bool sb_reader_connected(const sb_reader_t *reader)
{
    return reader->confirmed;
}

const char *sb_reader_cluster_id(sb_reader_t *reader)
{
    return reader->cluster_id;
}

/* ---- partitions ---- */

static part_t *find_part(sb_reader_t *reader, const char *topic, int32_t number)
{
    for (size_t i = 0; i < reader->part_count; i++)
        if (reader->part[i].number == number && strcmp(reader->part[i].name, topic) == 0)
            return &reader->part[i];
    return NULL;
}

sb_code_t sb_reader_assign(sb_reader_t *reader, const char *topic, int32_t partition, int64_t offset,
                           const char *cluster_id, sb_error_t *err)
{
    sb_reader_unassign(reader, topic, partition);
    part_t *grown = realloc(reader->part, (reader->part_count + 1) * sizeof *grown);
    char *name = strdup(topic);
    if (grown)
        reader->part = grown;
    if (!grown || !name) {
        free(name);
        return sb_fail(err, SB_NO_MEMORY, "assign %s %d: out of memory", topic, partition);
    }
    part_t *part = &reader->part[reader->part_count++];
    *part = (part_t){.name = name, .number = partition, .next = offset < 0 ? BEGINNING : offset};
    (void)snprintf(part->cluster_id, sizeof part->cluster_id, "%s", cluster_id ? cluster_id : "");
    sb_signal_raise(&reader->signal); /* the next poll starts it */
    return SB_OK;
}

void sb_reader_unassign(sb_reader_t *reader, const char *topic, int32_t partition)
{
    part_t *part = find_part(reader, topic, partition);
    if (!part)
        return;
    stop_part(part);
    free(part->name);
    *part = reader->part[--reader->part_count];
}

static void to_beginning(sb_reader_t *reader, part_t *part, const char *why)
{
    sb_log(SB_LOG_WARN, "READER-RESET", "%s, reading from the beginning|topic=%s partition=%d offset=%lld",
           why, part->name, part->number, (long long)part->next);
    part->next = BEGINNING;
    part->restart = false;
    reader->reset = true;
}

static sb_code_t start_part(sb_reader_t *reader, part_t *part, sb_error_t *err)
{
    if (strcmp(part->cluster_id, reader->cluster_id) != 0) {
        /* Nothing is lost when nothing was read: a new shard begins with no cluster id and offset 0. */
        if (part->cluster_id[0] || part->next > 0)
            to_beginning(reader, part, "the offset belongs to another cluster");
        part->next = BEGINNING;
        (void)snprintf(part->cluster_id, sizeof part->cluster_id, "%s", reader->cluster_id);
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(reader->handle, part->name, NULL);
    if (!topic)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", part->name);
    int64_t from = part->next == BEGINNING ? RD_KAFKA_OFFSET_BEGINNING : part->next;
    if (rd_kafka_consume_start_queue(topic, part->number, from, reader->queue) != 0) {
        rd_kafka_topic_destroy(topic);
        return sb_kafka_fail(err, rd_kafka_last_error(), "read %s %d", part->name, part->number);
    }
    part->topic = topic;
    return SB_OK;
}

static sb_code_t start_parts(sb_reader_t *reader, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < reader->part_count && code == SB_OK; i++)
        if (!reader->part[i].topic)
            code = start_part(reader, &reader->part[i], err);
    return code;
}

/* ---- which cluster is it ---- */

/* The handle knows the limits of logs that are no more (librdkafka would take the old beginning for the new
 * one), so a reset takes a new handle. Partitions go on at `next`. */
static sb_code_t renew(sb_reader_t *reader, sb_error_t *err)
{
    close_handle(reader);
    return open_handle(reader, err);
}

/* A handle that hears nothing for long is replaced, whatever the cause. */
static bool is_deaf(const sb_reader_t *reader)
{
    return reader->unheard_since_us && sb_mono_us() - reader->unheard_since_us > DEAF_US;
}

static bool unheard(sb_reader_t *reader)
{
    reader->confirmed = false;
    if (!reader->unheard_since_us)
        reader->unheard_since_us = sb_mono_us();
    return false;
}

/* Asks the brokers, once in a while. */
static void ask_again(sb_reader_t *reader)
{
    int64_t now = sb_mono_us();
    if (now < reader->confirm_after_us)
        return;
    reader->confirm_after_us = now + CONFIRM_WAIT_MS * 1000;
    reader->errors_then = reader->errors;
    atomic_store(&reader->asked, ASKED);
    if (!sb_thread_start(&reader->asker, "asker", ask, reader))
        atomic_store(&reader->asked, NOT_ASKED);
}

/* True when the brokers have said their id since the last error. Does not wait. */
static bool confirm(sb_reader_t *reader)
{
    if (atomic_load(&reader->asked) == ASKED)
        return false;
    asking_t answer = take_answer(reader);
    if (answer == NOT_ASKED) {
        ask_again(reader);
        return false;
    }
    char *id = answer == HEARD ? rd_kafka_clusterid(reader->handle, 0) : NULL;
    if (!id)
        return unheard(reader);
    reader->unheard_since_us = 0;
    (void)snprintf(reader->cluster_id, sizeof reader->cluster_id, "%s", id);
    rd_kafka_mem_free(reader->handle, id);
    reader->confirmed = reader->errors == reader->errors_then; /* else: what was heard may be of before */
    return reader->confirmed;
}

static bool cluster_changed(const sb_reader_t *reader)
{
    for (size_t i = 0; i < reader->part_count; i++)
        if (reader->part[i].topic && strcmp(reader->part[i].cluster_id, reader->cluster_id) != 0)
            return true;
    return false;
}

static bool must_restart(const sb_reader_t *reader)
{
    for (size_t i = 0; i < reader->part_count; i++)
        if (reader->part[i].restart)
            return true;
    return false;
}

/* Brings the handle to where messages may be taken from it. *ready is false when the brokers are away. */
static sb_code_t prepare(sb_reader_t *reader, bool *ready, sb_error_t *err)
{
    *ready = false;
    if (!reader->handle) {
        sb_code_t code = open_handle(reader, err);
        if (code != SB_OK)
            return code;
    }
    (void)rd_kafka_poll(reader->handle, 0); /* errors may take the confirmation back */
    if (!reader->confirmed && is_deaf(reader) && atomic_load(&reader->asked) != ASKED) {
        sb_log(SB_LOG_INFO, "READER-RENEW", "nothing heard of the brokers for a while, trying anew");
        reader->unheard_since_us = 0;
        sb_code_t code = renew(reader, err);
        if (code != SB_OK)
            return code;
    }
    if (!reader->confirmed && !confirm(reader))
        return SB_OK;
    if (must_restart(reader) || cluster_changed(reader)) {
        for (size_t i = 0; i < reader->part_count; i++)
            if (reader->part[i].restart)
                to_beginning(reader, &reader->part[i], "the offset is not in the topic");
        return renew(reader, err); /* and it is asked again */
    }
    sb_code_t code = start_parts(reader, err);
    *ready = code == SB_OK;
    return code;
}

/* ---- messages ---- */

static void on_message_error(sb_reader_t *reader, const rd_kafka_message_t *message)
{
    part_t *part =
        message->rkt ? find_part(reader, rd_kafka_topic_name(message->rkt), message->partition) : NULL;
    if (part && message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        part->restart = true;
    else
        doubt(reader); /* a topic that is gone, say: is it still the same cluster? */
    sb_log(SB_LOG_WARN, "READER-ERROR", "%s|code=%d topic=%s partition=%d", rd_kafka_message_errstr(message),
           (int)message->err, message->rkt ? rd_kafka_topic_name(message->rkt) : "", message->partition);
}

/* Hands one over. After a failure or a reset the partition's later messages of this batch are let go: it is
 * read again from `next`. */
static sb_code_t hand_over(sb_reader_t *reader, const rd_kafka_message_t *from, sb_message_fn on_message,
                           void *context, int *count, sb_error_t *err)
{
    part_t *part = find_part(reader, rd_kafka_topic_name(from->rkt), from->partition);
    if (!part || part->restart)
        return SB_OK;
    sb_message_t message;
    sb_kafka_message(from, &message);
    sb_code_t code = on_message(context, &message, err);
    if (code != SB_OK)
        return code;
    part->next = from->offset + 1;
    ++*count;
    return SB_OK;
}

static void keep_prefetching(sb_reader_t *reader, bool empty)
{
    if (!sb_prefetch_is_due(&reader->prefetch, empty))
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)reader->part_count);
    for (size_t i = 0; i < reader->part_count; i++)
        if (reader->part[i].topic)
            rd_kafka_topic_partition_list_add(list, reader->part[i].name, reader->part[i].number);
    sb_prefetch_ask(reader->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static sb_code_t take(sb_reader_t *reader, int max, sb_message_fn on_message, void *context, int *count,
                      sb_error_t *err)
{
    size_t room = max - *count < BATCH_MAX ? (size_t)(max - *count) : BATCH_MAX;
    ssize_t n = rd_kafka_consume_batch_queue(reader->queue, 0, reader->batch, room);
    sb_code_t code = SB_OK;
    for (ssize_t i = 0; i < n; i++) {
        rd_kafka_message_t *message = reader->batch[i];
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            on_message_error(reader, message);
        else
            sb_prefetch_read(&reader->prefetch, message);
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR && code == SB_OK)
            code = hand_over(reader, message, on_message, context, count, err);
        rd_kafka_message_destroy(message);
    }
    keep_prefetching(reader, n < (ssize_t)room);
    /* What follows a failed message was let go with it: the next poll starts all again at `next`. */
    for (size_t i = 0; i < reader->part_count && code != SB_OK; i++)
        stop_part(&reader->part[i]);
    if (code != SB_OK || n == (ssize_t)room)
        sb_signal_raise(&reader->signal); /* librdkafka only says when an empty queue fills */
    return code;
}

/* One round without waiting. */
static sb_code_t poll_once(sb_reader_t *reader, int max, sb_message_fn on_message, void *context, int *count,
                           sb_error_t *err)
{
    bool ready = false;
    sb_signal_clear(&reader->signal); /* before looking, so that what comes later raises it again */
    sb_code_t code = prepare(reader, &ready, err);
    return code == SB_OK && ready ? take(reader, max, on_message, context, count, err) : code;
}

sb_code_t sb_reader_poll(sb_reader_t *reader, int max, int timeout_ms, sb_message_fn on_message,
                         void *context, int *count, bool *reset, sb_error_t *err)
{
    int64_t until = sb_mono_us() + (int64_t)timeout_ms * 1000;
    sb_code_t code;
    *count = 0;
    for (;;) {
        code = poll_once(reader, max, on_message, context, count, err);
        int64_t left_us = until - sb_mono_us();
        if (code != SB_OK || *count > 0 || reader->reset || left_us <= 0)
            break;
        int wait_ms = (int)((left_us + 999) / 1000);
        if (!reader->confirmed && wait_ms > CONFIRM_WAIT_MS)
            wait_ms = CONFIRM_WAIT_MS;
        struct pollfd fd = {.fd = reader->signal.fd, .events = POLLIN};
        (void)poll(&fd, 1, wait_ms);
    }
    *reset = reader->reset;
    reader->reset = false;
    return code;
}
