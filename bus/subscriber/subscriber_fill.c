/* Reads from the store what Kafka has no more, or not yet: a gap in the positions of a partition, or
 * everything before Kafka's first record. The partition of an event is computed as the relay does it, so each
 * slot gets its own events only, in their order; Kafka's records of the same are repeats then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/log.h"
#include "bus/topic.h"
#include "bus_sql.h"

#include <inttypes.h>
#include <stdlib.h>

#define PAGE        500
#define METADATA_MS 5000

typedef struct fill {
    sb_slot_t *slot;
    int64_t incarnation;
    int32_t partitions;
} fill_t;

sb_code_t sb_subscriber_store(sb_subscriber_t *s, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (s->store_pg && !sb_pg_is_open(s->store_pg))
        code = sb_pg_reopen(s->store_pg, err);
    if (!s->store_pg) {
        sb_pg_config_t config = {.uri = s->store_uri, .application_name = s->owner, .standby_will_do = true};
        code = sb_pg_open(&s->store_pg, &config, err);
    }
    if (code == SB_OK && !s->catalog)
        code = sb_catalog_new(&s->catalog, err);
    if (code == SB_OK && !s->store) {
        code = sb_catalog_load(s->catalog, s->store_pg, err);
        if (code == SB_OK)
            code = sb_store_new(&s->store, s->store_pg, s->catalog, err);
    }
    return code;
}

/* Where the store is: its incarnation, and up to where it may be read. */
static sb_code_t ask_store(sb_subscriber_t *s, int64_t *safe, int64_t *incarnation, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(s->store_pg, sb_sql_relay_safe, NULL, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 1) {
        *safe = sb_pg_get_int(rows, 0, 0);
        *incarnation = sb_pg_get_int(rows, 0, 1);
    } else if (code == SB_OK) {
        code = sb_fail(err, SB_NOT_FOUND, "the database at store_uri holds no store");
    }
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t count_partitions(sb_subscriber_t *s, const char *topic, int32_t *out, sb_error_t *err)
{
    rd_kafka_t *handle = sb_consumer_handle(s->consumer);
    rd_kafka_topic_t *named = rd_kafka_topic_new(handle, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    if (!named)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", topic);
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 0, named, &metadata, METADATA_MS);
    rd_kafka_topic_destroy(named);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "partitions of %s", topic);
    *out = metadata->topic_cnt == 1 ? metadata->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(metadata);
    return *out > 0 ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "partitions of %s are not known", topic);
}

/* ---- one event ---- */

/* A record as the relay would have sent it, in memory of its own. */
static sb_code_t copy_event(const fill_t *fill, const sb_event_t *event, sb_fetched_t *fetched,
                            sb_error_t *err)
{
    sb_message_headers_t headers;
    sb_position_t position = {fill->incarnation, 0, event->seq, 0};
    sb_message_encode(event, &position, &headers);
    sb_slice_t key = sb_message_key(event);
    size_t size = key.len + event->data.len + 1;
    for (size_t i = 0; i < headers.count; i++)
        size += headers.header[i].value.len;
    char *at = fetched->copy = malloc(size);
    if (!at)
        return sb_fail(err, SB_NO_MEMORY, "event of the store: out of memory");
    sb_message_t *message = &fetched->message;
    *message = (sb_message_t){.topic = fill->slot->topic,
                              .partition = fill->slot->partition,
                              .offset = -1,
                              .time_ms = event->time_us / 1000,
                              .header_count = headers.count};
    for (size_t i = 0; i < headers.count; i++) {
        sb_slice_t value = headers.header[i].value;
        memcpy(at, value.ptr, value.len);
        message->headers[i] = (sb_header_t){headers.header[i].name, {at, value.len}};
        at += value.len;
    }
    memcpy(at, key.ptr, key.len);
    message->key = (sb_slice_t){at, key.len};
    at += key.len;
    if (event->data.ptr) {
        memcpy(at, event->data.ptr, event->data.len);
        message->value = (sb_slice_t){at, event->data.len};
    }
    return sb_fetched_decode(fetched, err);
}

static sb_code_t on_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    const fill_t *fill = context;
    sb_slot_t *slot = fill->slot;
    sb_inbox_mark_t mark = {fill->incarnation, event->seq, slot->at.next_offset};
    if (slot->at.incarnation == fill->incarnation && event->seq <= slot->at.seq)
        return SB_OK; /* the page broke off, and is read again */
    bool mine = sb_topic_partition(sb_message_key(event), fill->partitions) == slot->partition;
    if (!mine || !sb_sub_wants(slot->sub, event->type))
        return SB_OK;
    sb_fetched_t *fetched = sb_fetched_new(NULL);
    if (!fetched)
        return sb_fail(err, SB_NO_MEMORY, "event of the store: out of memory");
    sb_code_t code = copy_event(fill, event, fetched, err);
    if (code == SB_OK)
        code = sb_subscriber_deal(slot, fetched, mark, true, err);
    sb_fetched_drop(fetched);
    return code;
}

/* ---- a page ---- */

/* "order" of "shop.order.events". */
static sb_slice_t category_of(const sb_subscriber_t *s, const char *topic)
{
    const char *prefix = sb_config_get(s->config, "kafka.prefix");
    size_t skip = strncmp(topic, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
    sb_slice_t name = sb_slice(topic + skip);
    const char *end = memchr(name.ptr, '.', name.len);
    return (sb_slice_t){name.ptr, end ? (size_t)(end - name.ptr) : name.len};
}

static sb_code_t read_page(sb_subscriber_t *s, fill_t *fill, int64_t to, int64_t *last, sb_error_t *err)
{
    static const sb_slice_t public_types[] = {{"saga.started", 12},
                                              {"saga.step.completed", 19},
                                              {"saga.step.failed", 16},
                                              {"saga.completed", 14},
                                              {"saga.compensated", 16}};
    sb_read_all_t read = {.after_seq = fill->slot->fill_after,
                          .to_seq = to,
                          .limit = PAGE,
                          .category = category_of(s, fill->slot->topic)};
    if (sb_slice_is(read.category, "saga")) {
        read.types = public_types;
        read.type_count = sizeof public_types / sizeof public_types[0];
    } else {
        read.domain_only = true;
    }
    return sb_store_read_all(s->store, &read, on_event, fill, last, err);
}

static void finish(sb_slot_t *slot, const fill_t *fill, int64_t to)
{
    sb_sub_t *sub = slot->sub;
    slot->filling = false;
    if (slot->at.incarnation == 0 || slot->at.seq < to) {
        slot->at.incarnation = fill->incarnation;
        slot->at.seq = to;
    }
    if (!slot->fill_is_gap)
        return;
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.gaps_filled++;
    (void)pthread_mutex_unlock(&sub->lock);
    sb_log(SB_LOG_INFO, "SUBSCRIBER-FILLED",
           "a gap was filled from the store|subscription=%s topic=%s partition=%d to=%lld", sub->config.name,
           slot->topic, (int)slot->partition, (long long)to);
}

/* The gap is of another life of the store: what this one holds under its numbers are other events. */
static sb_code_t meet_other_life(sb_slot_t *slot, int64_t incarnation, sb_error_t *err)
{
    if (slot->fill_incarnation > incarnation) /* a copy that lags behind, say */
        return sb_fail(err, SB_UNAVAILABLE,
                       "the store at store_uri is of incarnation %" PRId64 ", the gap of %" PRId64,
                       incarnation, slot->fill_incarnation);
    sb_log(
        SB_LOG_ERROR, "SUBSCRIBER-GAP",
        "events are missing that the store lost when it was restored|subscription=%s topic=%s partition=%d "
        "after=%" PRId64 " to=%" PRId64 " incarnation=%" PRId64 " store=%" PRId64,
        slot->sub->config.name, slot->topic, (int)slot->partition, slot->fill_after, slot->fill_to,
        slot->fill_incarnation, incarnation);
    slot->filling = false;
    slot->at.incarnation = slot->fill_incarnation;
    slot->at.seq = slot->fill_to;
    return SB_OK;
}

/* A standby that lags, say, or lags more than the one that was asked before: store_uri may name several. What
 * it does not have yet must not pass for read: the subscription would be beyond it. */
static sb_code_t wait_for_store(const sb_slot_t *slot, int64_t at, sb_error_t *err)
{
    return sb_fail(err, SB_UNAVAILABLE,
                   "the store at store_uri is at %" PRId64 ", what is read goes to %" PRId64, at,
                   slot->fill_to);
}

sb_code_t sb_subscriber_fill(sb_subscriber_t *s, const sb_part_t *part, sb_slot_t *slot, sb_error_t *err)
{
    fill_t fill = {.slot = slot};
    int64_t safe = 0;
    int64_t last = slot->fill_after;
    sb_code_t code = sb_subscriber_store(s, err);
    if (code == SB_OK)
        code = ask_store(s, &safe, &fill.incarnation, err);
    if (code == SB_OK)
        code = count_partitions(s, part->topic, &fill.partitions, err);
    if (code != SB_OK)
        return code;
    if (slot->fill_is_gap && slot->fill_incarnation != fill.incarnation)
        return meet_other_life(slot, fill.incarnation, err);
    if (slot->fill_to == 0 || (!slot->fill_is_gap && slot->fill_incarnation != fill.incarnation)) {
        slot->fill_to = safe;
        slot->fill_incarnation = fill.incarnation;
    }
    if (safe < slot->fill_to)
        return wait_for_store(slot, safe, err);
    if (slot->fill_after < slot->fill_to)
        code = read_page(s, &fill, slot->fill_to, &last, err);
    if (code != SB_OK)
        return code;
    if (last >= slot->fill_to)
        finish(slot, &fill, slot->fill_to);
    else if (last <= slot->fill_after)
        return wait_for_store(slot, last, err);
    slot->fill_after = last;
    return SB_OK;
}
