/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_lost.h"

#include "base/clock.h"
#include "bus/kafka.h"
#include "bus/message.h"
#include "bus/position.h"
#include "bus_sql.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_MS 200

/* One partition of a topic that events were sent to. */
typedef struct part {
    const sb_relay_mark_t *mark;
    rd_kafka_topic_t *reading; /* NULL: its first record is not asked for */
    int32_t partition;
    bool led;     /* there is a broker to ask */
    int64_t low;  /* -1: not known */
    int64_t high; /* -1: not known */
    bool answered;
    bool begins; /* its offset 0 is a record of a relay, with this position */
    sb_position_t position;
} part_t;

typedef struct look {
    const sb_config_t *config;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    sb_relay_marks_t marks;
    sb_buf_t filling; /* categories, a blank before and behind each */
    part_t *part;
    size_t count;
    int64_t until_us;
} look_t;

static int left_ms(const look_t *l)
{
    int64_t left = (l->until_us - sb_mono_us()) / 1000;
    return left < 1 ? 1 : left > INT_MAX ? INT_MAX : (int)left;
}

/* ---- what PostgreSQL has ---- */

static sb_code_t read_marks(look_t *l, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_relay_lost, NULL, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 1) {
        code = sb_relay_marks_parse(&l->marks, sb_pg_get_slice(rows, 0, 0), err);
        sb_buf_printf(&l->filling, " %s ", sb_pg_get_text(rows, 0, 1));
    }
    sb_pg_result_free(rows);
    return code;
}

static bool is_filling(const look_t *l, sb_slice_t category)
{
    char word[SB_TOPIC_MAX + 2];
    (void)snprintf(word, sizeof word, " %.*s ", SB_SLICE_ARG(category));
    return strstr(sb_buf_text(&l->filling), word) != NULL;
}

/* ---- what Kafka has ---- */

static sb_code_t add_parts(look_t *l, const struct rd_kafka_metadata_topic *topic, sb_error_t *err)
{
    const sb_relay_mark_t *mark = sb_relay_marks_find(&l->marks, topic->topic);
    if (!mark || topic->partition_cnt <= 0)
        return SB_OK;
    part_t *grown = realloc(l->part, (l->count + (size_t)topic->partition_cnt) * sizeof *grown);
    if (!grown)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    l->part = grown;
    for (int p = 0; p < topic->partition_cnt; p++)
        l->part[l->count++] = (part_t){.mark = mark,
                                       .partition = topic->partitions[p].id,
                                       .led = topic->partitions[p].leader >= 0,
                                       .low = -1,
                                       .high = -1};
    return SB_OK;
}

static sb_code_t list_parts(look_t *l, sb_error_t *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(l->handle, 1, NULL, &metadata, left_ms(l));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "ask Kafka for its topics");
    sb_code_t code = SB_OK;
    for (int i = 0; i < metadata->topic_cnt && code == SB_OK; i++)
        code = add_parts(l, &metadata->topics[i], err);
    rd_kafka_metadata_destroy(metadata);
    return code;
}

/* Of all partitions at once: one request a broker. False when one has no answer, which keeps its -1. */
static bool ask_once(look_t *l, int64_t which, int timeout_ms)
{
    bool all = true;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)l->count);
    for (size_t i = 0; i < l->count; i++)
        if (l->part[i].led)
            rd_kafka_topic_partition_list_add(list, l->part[i].mark->topic, l->part[i].partition)->offset =
                which;
    if (list->cnt > 0) /* errors stand in the list */
        (void)rd_kafka_offsets_for_times(l->handle, list, timeout_ms);
    for (size_t i = 0; i < l->count; i++) {
        part_t *part = &l->part[i];
        const rd_kafka_topic_partition_t *one =
            rd_kafka_topic_partition_list_find(list, part->mark->topic, part->partition);
        int64_t offset = one && one->err == RD_KAFKA_RESP_ERR_NO_ERROR && one->offset >= 0 ? one->offset : -1;
        *(which == RD_KAFKA_OFFSET_BEGINNING ? &part->low : &part->high) = offset;
        all = all && (offset >= 0 || !part->led);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return all;
}

/* A partition that was made just now has one that does not know it yet: it is asked again. */
static void ask_offsets(look_t *l, int64_t which, int timeout_ms)
{
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    while (!ask_once(l, which, timeout_ms) && sb_mono_us() + ASK_AGAIN_MS * 1000 < until_us) {
        sb_sleep_ms(ASK_AGAIN_MS);
        timeout_ms = (int)((until_us - sb_mono_us()) / 1000) + 1;
    }
}

/* Begins to read the first records of those that still have their beginning. */
static size_t start_heads(look_t *l)
{
    size_t started = 0;
    for (size_t i = 0; i < l->count; i++) {
        part_t *part = &l->part[i];
        if (part->low != 0 || part->high <= 0)
            continue;
        rd_kafka_topic_t *topic = rd_kafka_topic_new(l->handle, part->mark->topic, NULL);
        if (topic && rd_kafka_consume_start_queue(topic, part->partition, 0, l->queue) == 0) {
            part->reading = topic;
            started++;
        } else if (topic) {
            rd_kafka_topic_destroy(topic);
        }
    }
    return started;
}

static part_t *find_part(const look_t *l, const rd_kafka_message_t *message)
{
    for (size_t i = 0; message->rkt && i < l->count; i++)
        if (l->part[i].reading && l->part[i].partition == message->partition &&
            strcmp(l->part[i].mark->topic, rd_kafka_topic_name(message->rkt)) == 0)
            return &l->part[i];
    return NULL;
}

static void take_head(part_t *part, const rd_kafka_message_t *from)
{
    sb_message_t message;
    part->answered = true;
    if (from->offset != 0)
        return;
    sb_kafka_message(from, &message);
    part->begins = sb_position_parse(sb_message_header(&message, SB_POSITION_HEADER), &part->position);
}

static void read_heads(look_t *l)
{
    size_t missing = start_heads(l);
    while (missing > 0 && sb_mono_us() < l->until_us) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(l->queue, left_ms(l));
        part_t *part = message ? find_part(l, message) : NULL;
        if (part && !part->answered && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            take_head(part, message);
            missing--;
        }
        if (message)
            rd_kafka_message_destroy(message);
    }
}

static sb_code_t read_kafka(look_t *l, sb_relay_cluster_t *cluster, sb_error_t *err)
{
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, l->config, SB_KAFKA_READER, "sagabus-doctor", err);
    if (code == SB_OK)
        (void)rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
    if (code == SB_OK)
        code = sb_kafka_open(&l->handle, RD_KAFKA_CONSUMER, conf, err);
    if (code == SB_OK) {
        l->queue = rd_kafka_queue_new(l->handle);
        code = list_parts(l, err);
    }
    if (code != SB_OK)
        return code;
    char *id = rd_kafka_clusterid(l->handle, left_ms(l));
    (void)snprintf(cluster->is, sizeof cluster->is, "%s", id ? id : "");
    if (id)
        rd_kafka_mem_free(l->handle, id);
    cluster->dev_broker = sb_kafka_is_dev_broker(l->handle, 0);
    if (l->count > 0) {
        ask_offsets(l, RD_KAFKA_OFFSET_BEGINNING, left_ms(l) / 3 + 1);
        ask_offsets(l, RD_KAFKA_OFFSET_END, left_ms(l) / 2 + 1);
        read_heads(l);
    }
    return SB_OK;
}

/* ---- beside each other ---- */

typedef struct sum {
    int parts;
    int unread;
    int ever; /* had a record once */
    int old;  /* say that the topic is as old as its events */
    int anew; /* begin in the middle of their chain */
} sum_t;

/* Whether it says that the topic is as old as its events. */
static bool is_old(const part_t *part)
{
    return part->low > 0 || (part->answered && (!part->begins || part->position.prev == 0));
}

static void sum_part(sum_t *sum, const part_t *part, sb_relay_topic_t *topic)
{
    sum->parts++;
    sum->ever += part->high > 0;
    if (part->high == 0)
        return;
    if (part->low >= 0 && part->high > 0 && is_old(part))
        sum->old++;
    else if (!part->answered)
        sum->unread++;
    else if (sum->anew++ == 0 || part->position.seq < topic->first) {
        topic->first = part->position.seq;
        topic->prev = part->position.prev;
    }
}

static void judge(const look_t *l, const sb_relay_mark_t *mark, sb_relay_topic_t *topic)
{
    sum_t sum = {.parts = 0};
    for (int32_t p = 0; p < mark->count; p++)
        topic->sent = mark->acked[p] > topic->sent ? mark->acked[p] : topic->sent;
    for (size_t i = 0; i < l->count; i++)
        if (l->part[i].mark == mark)
            sum_part(&sum, &l->part[i], topic);
    if (topic->sent == 0 || sum.old > 0)
        topic->state = SB_RELAY_TOPIC_WHOLE;
    else if (sum.parts == 0)
        topic->state = SB_RELAY_TOPIC_GONE;
    else if (sum.unread > 0)
        topic->state = SB_RELAY_TOPIC_UNREAD;
    else if (sum.ever == 0)
        topic->state = SB_RELAY_TOPIC_EMPTY;
    else
        topic->state = SB_RELAY_TOPIC_ANEW;
}

static void fini(look_t *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->part[i].reading) {
            (void)rd_kafka_consume_stop(l->part[i].reading, l->part[i].partition);
            rd_kafka_topic_destroy(l->part[i].reading);
        }
    free(l->part);
    if (l->queue)
        rd_kafka_queue_destroy(l->queue);
    if (l->handle)
        rd_kafka_destroy(l->handle);
    sb_relay_marks_fini(&l->marks);
    sb_buf_fini(&l->filling);
}

sb_code_t sb_relay_lost_each(sb_pg_t *pg, const sb_config_t *config, int timeout_ms,
                             sb_relay_cluster_t *cluster,
                             void (*visit)(void *context, const sb_relay_topic_t *topic), void *context,
                             sb_error_t *err)
{
    look_t l = {
        .config = config, .filling = SB_BUF_INIT, .until_us = sb_mono_us() + (int64_t)timeout_ms * 1000};
    *cluster = (sb_relay_cluster_t){.dev_broker = false};
    sb_code_t code = read_marks(&l, pg, err); /* before Kafka: what they say was sent has been there by now */
    if (code == SB_OK && sb_buf_failed(&l.filling))
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code == SB_OK)
        code = read_kafka(&l, cluster, err);
    if (code == SB_OK)
        (void)snprintf(cluster->was, sizeof cluster->was, "%s", l.marks.cluster_id);
    for (size_t i = 0; i < l.marks.count && code == SB_OK; i++) {
        const sb_relay_mark_t *mark = l.marks.item[i];
        sb_relay_topic_t topic = {.topic = mark->topic};
        if (!sb_topic_is_events(mark->topic, sb_config_get(config, "kafka.prefix"), &topic.category))
            continue; /* of a prefix that was */
        topic.filling = is_filling(&l, topic.category);
        judge(&l, mark, &topic);
        visit(context, &topic);
    }
    fini(&l);
    return code;
}
