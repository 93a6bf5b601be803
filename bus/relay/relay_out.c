/* An event that is too large for its topic cannot be told from its neighbours by the report: the broker
 * refuses whole batches. So after such a refusal everything up to the highest refused event is sent one by
 * one, each waiting for its report; what is refused alone goes out as sagabus.withheld in its place, so that
 * the chain of positions has no gap and consumers learn of it.
 *
 * When the leader of a partition moves, librdkafka (2.0.2, and as of 2.15 still) may send the next batch to
 * the new leader before it repeats the one that was refused. Brokers refuse that by its sequence number, but
 * they take any number of a producer that they do not know on the partition: then consumers see the later
 * events first. So the first event of a partition goes alone, and again when nothing was sent there for so
 * long that brokers may have forgotten the producer. What is acknowledged is known to all that may become the
 * leader.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_out.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/kafka.h"
#include "bus/message.h"
#include "bus/topics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RING_SLOTS     16384u /* a power of two */
#define TOPICS_MAX     1024
#define WITHHELD_MAX   256
#define METADATA_MS    5000
#define UNDER_WAY_MAX  5
#define TAKE_BACK_MS   3000
#define TAKE_BACK_EACH 50
#define BLAME_MS       500
#define KNOWN_US       60000000 /* brokers remember a producer for longer: producer.id.expiration.ms, a day */
#define ALONE_US       2000000  /* not longer: the partition may lack a leader, and others wait behind it */
#define WITHHELD_TYPE  "sagabus.withheld"

/* A partition as this producer knows it. */
typedef struct lane {
    int64_t under_way;
    int64_t first_us; /* when the first of these was handed over */
    int64_t idle_us;  /* since when there are none */
    bool known;       /* the brokers know the producer there */
} lane_t;

typedef struct slot {
    int64_t seq;
    int64_t time_us;
    sb_relay_mark_t *mark;
    lane_t *lane;
    int32_t partition;
    bool alone; /* nothing else was under way: a refusal is its own */
    bool acked;
} slot_t;

/* An event too large for its topic; kept until its stand-in is in Kafka and it is written down. */
typedef struct withheld {
    sb_relay_withheld_t event;
    bool in_kafka;
} withheld_t;

/* A topic as this producer knows it; dropped with the producer. */
typedef struct route {
    char category[SB_TYPE_MAX];
    rd_kafka_topic_t *topic;
    sb_relay_mark_t *mark;
    lane_t *lane; /* by partition */
} route_t;

struct sb_relay_out {
    const sb_config_t *config;
    sb_relay_marks_t *marks;
    sb_signal_t *signal;
    rd_kafka_t *handle; /* NULL until something is sent */
    rd_kafka_queue_t *queue;
    route_t route[TOPICS_MAX];
    size_t route_count;
    size_t route_last;
    slot_t ring[RING_SLOTS];
    uint64_t head;
    uint64_t tail;
    bool failed;
    sb_error_t failure;
    int64_t single_until; /* up to this seq one by one */
    withheld_t withheld[WITHHELD_MAX];
    size_t withheld_count;
    int64_t withheld_total;
    bool new_cluster; /* since it was opened */
    int64_t acked;
    int64_t counted_seq; /* the newest event in tally, or before it */
    sb_tally_t tally;
};

/* ---- reports ---- */

static bool is_too_large(rd_kafka_resp_err_t error)
{
    return sb_kafka_code(error) == SB_TOO_LARGE;
}

static withheld_t *find_withheld(sb_relay_out_t *out, int64_t seq)
{
    for (size_t i = 0; i < out->withheld_count; i++)
        if (out->withheld[i].event.seq == seq)
            return &out->withheld[i];
    return NULL;
}

/* False when it is withheld already, or too many are: then the refusal is an error like others. */
static bool add_withheld(sb_relay_out_t *out, int64_t seq)
{
    if (out->withheld_count == WITHHELD_MAX || find_withheld(out, seq))
        return false;
    out->withheld[out->withheld_count++] = (withheld_t){.event = {.seq = seq}};
    return true;
}

static void note_withheld(sb_relay_out_t *out, int64_t seq)
{
    withheld_t *withheld = find_withheld(out, seq);
    if (!withheld || withheld->in_kafka)
        return;
    withheld->in_kafka = true;
    out->withheld_total++;
}

static void note_failure(sb_relay_out_t *out, const slot_t *slot, rd_kafka_resp_err_t error)
{
    /* Alone: withheld from now on. With others: it and those before it go alone next time. */
    if (is_too_large(error) && !(slot->alone && add_withheld(out, slot->seq)) &&
        slot->seq > out->single_until)
        out->single_until = slot->seq;
    if (out->failed || error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    out->failed = true;
    sb_code_t ignored = sb_kafka_fail(&out->failure, error, "event %" PRId64 " to %s %d", slot->seq,
                                      slot->mark->topic, slot->partition);
    (void)ignored;
}

static void on_report(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    sb_relay_out_t *out = opaque;
    slot_t *slot = &out->ring[(uint64_t)(uintptr_t)message->_private & (RING_SLOTS - 1)];
    rd_kafka_resp_err_t error = sb_kafka_report(message);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_failure(out, slot, error);
        return;
    }
    slot->acked = true;
    slot->lane->known = true;
    if (--slot->lane->under_way == 0)
        slot->lane->idle_us = sb_mono_us();
    out->acked++;
}

/* The head moves over what is acknowledged without a hole. */
static void advance(sb_relay_out_t *out)
{
    for (; out->head < out->tail; out->head++) {
        const slot_t *slot = &out->ring[out->head & (RING_SLOTS - 1)];
        if (!slot->acked || (slot->seq > out->counted_seq && !sb_tally_add(&out->tally, slot->seq, 1)))
            return;
        if (slot->seq > out->counted_seq)
            out->counted_seq = slot->seq;
        slot->mark->acked[slot->partition] = slot->seq;
        if (out->withheld_count > 0)
            note_withheld(out, slot->seq);
    }
}

/* After a fatal error librdkafka sends nothing more. The report of the event that is to blame comes just
 * behind it and says more, of which topic and what class of error. */
static void meet_fatal(sb_relay_out_t *out)
{
    char text[256];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(out->handle, text, sizeof text);
    if (fatal == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    int64_t until = sb_mono_us() + BLAME_MS * 1000;
    while (!out->failed && rd_kafka_outq_len(out->handle) > 0 && sb_mono_us() < until)
        (void)rd_kafka_poll(out->handle, TAKE_BACK_EACH);
    if (out->failed)
        return;
    out->failed = true;
    sb_code_t ignored = sb_kafka_fail(&out->failure, fatal, "the relay's producer: %s", text);
    (void)ignored;
}

sb_code_t sb_relay_out_serve(sb_relay_out_t *out, int timeout_ms, sb_error_t *err)
{
    if (out->handle) {
        (void)rd_kafka_poll(out->handle, timeout_ms);
        if (!out->failed)
            meet_fatal(out);
    }
    advance(out);
    if (!out->failed)
        return SB_OK;
    if (err)
        *err = out->failure;
    return out->failure.code;
}

/* ---- the producer ---- */

sb_code_t sb_relay_out_open(sb_relay_out_t **out, const sb_config_t *config, sb_relay_marks_t *marks,
                            sb_signal_t *signal, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    (*out)->config = config;
    (*out)->marks = marks;
    (*out)->signal = signal;
    return SB_OK;
}

static sb_code_t open_handle(sb_relay_out_t *out, sb_error_t *err)
{
    static const uint64_t one = 1;
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, out->config, SB_KAFKA_RELAY, "sagabus-relay", err);
    if (code != SB_OK)
        return code;
    rd_kafka_conf_set_opaque(conf, out);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    code = sb_kafka_open(&out->handle, RD_KAFKA_PRODUCER, conf, err);
    if (code != SB_OK)
        return code;
    out->queue = rd_kafka_queue_get_main(out->handle);
    rd_kafka_queue_io_event_enable(out->queue, out->signal->fd, &one, sizeof one);
    return SB_OK;
}

void sb_relay_out_warm(sb_relay_out_t *out)
{
    if (!out->handle && open_handle(out, NULL) != SB_OK)
        out->handle = NULL; /* the first event says why */
}

static void take_back(sb_relay_out_t *out)
{
    int64_t until = sb_mono_us() + TAKE_BACK_MS * 1000;
    rd_kafka_resp_err_t ignored =
        rd_kafka_purge(out->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)ignored;
    while (rd_kafka_outq_len(out->handle) > 0 && sb_mono_us() < until)
        (void)rd_kafka_poll(out->handle, TAKE_BACK_EACH);
    advance(out); /* some were delivered */
}

int64_t sb_relay_out_restart(sb_relay_out_t *out)
{
    int64_t lowest = 0;
    if (out->handle) {
        take_back(out);
        lowest = sb_relay_out_oldest(out);
        for (size_t i = 0; i < out->route_count; i++) {
            rd_kafka_topic_destroy(out->route[i].topic);
            free(out->route[i].lane);
        }
        rd_kafka_queue_io_event_enable(out->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(out->queue);
        rd_kafka_destroy(out->handle);
    }
    out->handle = NULL;
    out->queue = NULL;
    out->route_count = 0;
    out->head = out->tail;
    out->failed = false;
    sb_relay_marks_rewind(out->marks);
    return lowest;
}

void sb_relay_out_close(sb_relay_out_t **out)
{
    if (!*out)
        return;
    (void)sb_relay_out_restart(*out);
    free(*out);
    *out = NULL;
}

/* ---- topics ---- */

static void note_cluster(sb_relay_out_t *out)
{
    char *id = rd_kafka_clusterid(out->handle, 0);
    if (!id)
        return;
    if (out->marks->cluster_id[0] && strcmp(id, out->marks->cluster_id) != 0) {
        out->new_cluster = true;
        sb_log(SB_LOG_WARN, "RELAY-CLUSTER",
               "Kafka is another cluster than before: it has none of the events sent so far|was=%s is=%s",
               out->marks->cluster_id, id);
    }
    (void)snprintf(out->marks->cluster_id, sizeof out->marks->cluster_id, "%s", id);
    rd_kafka_mem_free(out->handle, id);
}

/* The count of partitions in the cluster; 0: there is no such topic. */
static sb_code_t count_partitions(sb_relay_out_t *out, rd_kafka_topic_t *topic, int32_t *count,
                                  sb_error_t *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(out->handle, 0, topic, &metadata, METADATA_MS);
    *count = 0;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "ask Kafka for topic %s", rd_kafka_topic_name(topic));
    if (metadata->topic_cnt > 0) {
        *count = metadata->topics[0].partition_cnt;
        error = metadata->topics[0].err;
    }
    rd_kafka_metadata_destroy(metadata);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR || sb_kafka_code(error) == SB_NOT_FOUND)
        return SB_OK;
    return sb_kafka_fail(err, error, "topic %s", rd_kafka_topic_name(topic));
}

static sb_code_t create_topic(sb_relay_out_t *out, const char *name, int32_t *count, sb_error_t *err)
{
    bool manage = false;
    int64_t partitions = 1;
    int created = 0;
    sb_topic_list_t list = {NULL, 0, 0};
    const sb_relay_mark_t *mark = sb_relay_marks_find(out->marks, name);
    sb_code_t code = sb_config_get_bool(out->config, "topics.manage", &manage, err);
    if (code == SB_OK && !manage)
        return sb_fail(err, SB_NOT_FOUND, "topic %s is not there, and topics.manage is false", name);
    if (code == SB_OK)
        code = sb_config_get_int(out->config, "topics.partitions", 1, 100000, &partitions, err);
    if (code == SB_OK) /* a topic that was lost comes back as it was */
        code = sb_topic_list_add(&list, name, mark ? mark->count : (int32_t)partitions, err);
    if (code == SB_OK)
        code = sb_topics_apply(out->config, &list, METADATA_MS, &created, err);
    if (code == SB_OK)
        *count = list.item[0].found;
    sb_topic_list_fini(&list);
    return code;
}

/* Keys must stay on their partition, or consumers see an old event of a key after a newer one. */
static sb_code_t check_count(const sb_relay_out_t *out, sb_relay_mark_t *mark, int32_t count, sb_error_t *err)
{
    bool accept = out->new_cluster; /* where there are no older events */
    if (mark->count == count)
        return SB_OK;
    if (!accept) {
        sb_code_t code = sb_config_get_bool(out->config, "topics.accept_partitions", &accept, err);
        if (code != SB_OK)
            return code;
    }
    if (!accept)
        return sb_fail(
            err, SB_MISMATCH,
            "topic %s has %d partitions, events were spread over %d: keys would change their partition; "
            "let consumers catch up, then set topics.accept_partitions=true",
            mark->topic, count, mark->count);
    sb_log(SB_LOG_WARN, "RELAY-PARTITIONS", "another partition count is accepted|topic=%s was=%d is=%d",
           mark->topic, mark->count, count);
    return sb_relay_mark_spread(mark, count, err);
}

static sb_code_t make_route(sb_relay_out_t *out, route_t *route, const char *name, sb_error_t *err)
{
    int32_t count = 0;
    route->topic = rd_kafka_topic_new(out->handle, name, NULL);
    if (!route->topic)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", name);
    sb_code_t code = count_partitions(out, route->topic, &count, err);
    if (code == SB_OK)
        note_cluster(out);
    if (code == SB_OK && count == 0)
        code = create_topic(out, name, &count, err);
    if (code == SB_OK) {
        route->mark = sb_relay_marks_find(out->marks, name);
        code = route->mark ? check_count(out, route->mark, count, err)
                           : sb_relay_marks_add(out->marks, name, count, &route->mark, err);
    }
    if (code == SB_OK) {
        route->lane = calloc((size_t)route->mark->count, sizeof *route->lane);
        if (!route->lane)
            code = sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    }
    if (code != SB_OK)
        rd_kafka_topic_destroy(route->topic);
    return code;
}

static sb_code_t find_route(sb_relay_out_t *out, sb_slice_t category, const route_t **found, sb_error_t *err)
{
    sb_topic_t name;
    for (size_t i = 0; i < out->route_count; i++) {
        size_t at = (out->route_last + i) % out->route_count; /* events of a category come in runs */
        if (sb_slice_is(category, out->route[at].category)) {
            out->route_last = at;
            *found = &out->route[at];
            return SB_OK;
        }
    }
    if (out->route_count == TOPICS_MAX)
        return sb_fail(err, SB_UNSUPPORTED, "relay: more than %d categories", TOPICS_MAX);
    route_t *route = &out->route[out->route_count];
    sb_code_t code = sb_topic_events(name, sb_config_get(out->config, "kafka.prefix"), category, err);
    if (code == SB_OK)
        code = make_route(out, route, name, err);
    if (code != SB_OK)
        return code;
    (void)snprintf(route->category, sizeof route->category, "%.*s", SB_SLICE_ARG(category));
    out->route_count++;
    *found = route;
    return SB_OK;
}

/* ---- sending ---- */

/* Whether one more event may go out there. */
static bool may_follow(lane_t *lane)
{
    if (lane->under_way == 0) {
        lane->known = lane->known && sb_mono_us() - lane->idle_us < KNOWN_US;
        return true;
    }
    return lane->known || sb_mono_us() - lane->first_us > ALONE_US;
}

static void count_sent(lane_t *lane)
{
    if (lane->under_way++ == 0 && !lane->known)
        lane->first_us = sb_mono_us();
}

/* The record that stands in for an event: small, with the event's id and position, and a body that names it.
 */
static void withhold(withheld_t *withheld, const sb_event_t *event, const route_t *route, int32_t partition,
                     sb_event_t *out, sb_buf_t *body)
{
    char id[SB_UUID_TEXT];
    sb_buf_printf(body, "{\"seq\":%" PRId64 ",\"id\":\"%s\",\"type\":", event->seq,
                  sb_uuid_format(&event->id, id));
    sb_buf_add_json(body, event->type);
    sb_buf_printf(body, ",\"bytes\":%zu,\"reason\":\"larger than the topic takes\"}", event->data.len);
    *out = *event;
    out->type = SB_SLICE(WITHHELD_TYPE);
    out->schema_version = 0;
    out->data = sb_buf_slice(body);
    withheld->event.id = event->id;
    withheld->event.topic = route->mark->topic;
    withheld->event.partition = partition;
    withheld->event.bytes = (int64_t)event->data.len;
    (void)snprintf(withheld->event.type, sizeof withheld->event.type, "%.*s", SB_SLICE_ARG(event->type));
    sb_log(SB_LOG_ERROR, "RELAY-WITHHELD",
           "an event is too large for its topic|seq=%" PRId64 " id=%s bytes=%zu", event->seq, id,
           event->data.len);
}

static rd_kafka_resp_err_t produce(sb_relay_out_t *out, const route_t *route, int32_t partition,
                                   const sb_event_t *event, const sb_position_t *position)
{
    sb_message_headers_t headers;
    rd_kafka_headers_t *list = NULL;
    sb_slice_t key = sb_message_key(event);
    sb_message_encode(event, position, &headers);
    if (sb_kafka_headers(&list, headers.header, headers.count, NULL) != SB_OK)
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    rd_kafka_resp_err_t error = rd_kafka_producev(
        out->handle, RD_KAFKA_V_RKT(route->topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key.ptr, key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)event->data.ptr, event->data.len),
        RD_KAFKA_V_OPAQUE((void *)(uintptr_t)out->tail), RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && list)
        rd_kafka_headers_destroy(list);
    return error;
}

static rd_kafka_resp_err_t produce_or_withhold(sb_relay_out_t *out, const route_t *route, int32_t partition,
                                               const sb_event_t *event, const sb_position_t *position)
{
    if (!find_withheld(out, event->seq)) {
        rd_kafka_resp_err_t error = produce(out, route, partition, event, position);
        if (!is_too_large(error) || !add_withheld(out, event->seq)) /* larger than we send at all */
            return error;
    }
    sb_event_t stand_in;
    sb_buf_t body = SB_BUF_INIT;
    withhold(find_withheld(out, event->seq), event, route, partition, &stand_in, &body);
    rd_kafka_resp_err_t error = produce(out, route, partition, &stand_in, position);
    sb_buf_fini(&body);
    return error;
}

sb_code_t sb_relay_out_send(sb_relay_out_t *out, const sb_event_t *event, int64_t incarnation, int64_t epoch,
                            sb_error_t *err)
{
    const route_t *route = NULL;
    bool alone = event->seq <= out->single_until;
    if (out->tail - out->head == RING_SLOTS || (alone && out->head < out->tail))
        return SB_BUSY;
    sb_code_t code = out->handle ? SB_OK : open_handle(out, err);
    if (code == SB_OK)
        code = find_route(out, sb_event_category(event->type), &route, err);
    if (code != SB_OK)
        return code;
    int32_t partition = sb_topic_partition(sb_message_key(event), route->mark->count);
    lane_t *lane = &route->lane[partition];
    if (!may_follow(lane))
        return SB_BUSY;
    sb_position_t position = {incarnation, epoch, event->seq, route->mark->sent[partition]};
    /* The slot first: a report may be served by no one but us, but then it must find it. */
    out->ring[out->tail & (RING_SLOTS - 1)] =
        (slot_t){event->seq, event->time_us, route->mark, lane, partition, alone, false};
    rd_kafka_resp_err_t error = produce_or_withhold(out, route, partition, event, &position);
    if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        return SB_BUSY;
    if (error == RD_KAFKA_RESP_ERR__FATAL && sb_relay_out_serve(out, 0, err) != SB_OK)
        return out->failure.code; /* of an event before this one */
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "event %" PRId64 " to %s", event->seq, route->mark->topic);
    route->mark->sent[partition] = event->seq;
    count_sent(lane);
    out->tail++;
    return SB_OK;
}

/* ---- how far ---- */

void sb_relay_out_count_from(sb_relay_out_t *out, int64_t seq)
{
    out->counted_seq = seq;
}

sb_tally_t *sb_relay_out_tally(sb_relay_out_t *out)
{
    return &out->tally;
}

int64_t sb_relay_out_oldest(const sb_relay_out_t *out)
{
    return out->head < out->tail ? out->ring[out->head & (RING_SLOTS - 1)].seq : 0;
}

int64_t sb_relay_out_oldest_time(const sb_relay_out_t *out)
{
    return out->head < out->tail ? out->ring[out->head & (RING_SLOTS - 1)].time_us : 0;
}

bool sb_relay_out_has_enough(const sb_relay_out_t *out)
{
    return out->tail - out->head >= UNDER_WAY_MAX;
}

int64_t sb_relay_out_acked(const sb_relay_out_t *out)
{
    return out->acked;
}

int64_t sb_relay_out_withheld(const sb_relay_out_t *out)
{
    return out->withheld_total;
}

const sb_relay_withheld_t *sb_relay_out_to_note(const sb_relay_out_t *out, size_t at)
{
    for (size_t i = 0; i < out->withheld_count; i++)
        if (out->withheld[i].in_kafka && at-- == 0)
            return &out->withheld[i].event;
    return NULL;
}

void sb_relay_out_noted(sb_relay_out_t *out)
{
    size_t left = 0;
    for (size_t i = 0; i < out->withheld_count; i++)
        if (!out->withheld[i].in_kafka)
            out->withheld[left++] = out->withheld[i];
    out->withheld_count = left;
}
