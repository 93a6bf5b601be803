/* The thread in run: takes partitions over and gives them up, fetches, decodes once, and deals each record
 * out to the subscriptions it is for. It never waits for a handler: a subscription without room falls behind,
 * and the fetch comes back for it (a seek to where it stands, the others drop what they know); when none has
 * room, nothing is fetched, and after some seconds the partitions are paused so that polling can go on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/topic.h"

#include <assert.h>
#include <stdlib.h>

#define POLL_MS        100
#define FULL_WAIT_MS   3
#define HOLD_AFTER_US  3000000
#define PATIENCE_US    50000
#define LOOK_US        1000000
#define BYTES_MAX      (64 * 1024 * 1024) /* of records a subscription holds */
#define CLUSTER_MS     5000
#define AGAIN_MS       250
#define STORE_AGAIN_US 1000000
#define STATEMENT_MS   5000
#define CLOSE_MS       5000
#define CATALOG_US     10000000
#define NOWHERE        INT64_MAX
#define RECLAIM_US     1000000
#define RECLAIMS_MAX   5        /* doublings */
#define KEPT_US        60000000 /* a claim that lasts so long was no quarrel */

/* ---- partitions ---- */

static sb_part_t *find_part(sb_subscriber_t *s, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < s->part_count; i++) {
        size_t at = (s->part_last + i) % s->part_count;
        if (s->parts[at].partition == partition && strcmp(s->parts[at].topic, topic) == 0) {
            s->part_last = at;
            return &s->parts[at];
        }
    }
    return NULL;
}

static sb_part_t *add_part(sb_subscriber_t *s, const char *topic, int32_t partition)
{
    sb_part_t *grown = realloc(s->parts, (s->part_count + 1) * sizeof *grown);
    if (grown)
        s->parts = grown;
    char *name = strdup(topic);
    if (!grown || !name) {
        free(name);
        return NULL;
    }
    sb_part_t *part = &s->parts[s->part_count++];
    *part = (sb_part_t){.topic = name, .partition = partition, .next_offset = -1, .committed = -1};
    return part;
}

static void drop_part(sb_subscriber_t *s, sb_part_t *part)
{
    while (part->slots) {
        sb_slot_t *slot = part->slots;
        part->slots = slot->next;
        sb_slot_unref(slot);
    }
    free(part->topic);
    *part = s->parts[--s->part_count];
    s->part_last = 0;
}

/* ---- what a subscription wants ---- */

bool sb_sub_wants(const sb_sub_t *sub, sb_slice_t type)
{
    for (size_t i = 0; i < sub->config.type_count; i++)
        if (sb_subscriber_fits(sub->config.types[i], type))
            return true;
    return false;
}

/* Topics that are named <prefix><category>.events are only for those who may want a type of the category. */
static bool wants_topic(const sb_subscriber_t *s, const sb_sub_t *sub, const char *topic)
{
    sb_slice_t category;
    if (s->topics_given || !sb_topic_is_events(topic, sb_config_get(s->config, "kafka.prefix"), &category))
        return true;
    for (size_t i = 0; i < sub->config.type_count; i++) {
        char label[256];
        (void)snprintf(label, sizeof label, "%.*s", (int)strcspn(sub->config.types[i], "."),
                       sub->config.types[i]);
        if (sb_subscriber_fits(label, category))
            return true;
    }
    return false;
}

/* ---- assignment ---- */

static sb_code_t ensure_pg(sb_subscriber_t *s, sb_error_t *err)
{
    if (s->pg)
        return sb_pg_is_open(s->pg) ? SB_OK : sb_pg_reopen(s->pg, err);
    sb_pg_config_t config = {.uri = s->pg_uri,
                             .application_name = s->owner,
                             .search_path = s->schema,
                             .statement_timeout_ms = STATEMENT_MS};
    return sb_pg_open(&s->pg, &config, err);
}

static sb_code_t know_cluster(sb_subscriber_t *s, sb_error_t *err)
{
    char *id = rd_kafka_clusterid(sb_consumer_handle(s->consumer), CLUSTER_MS);
    if (!id)
        return sb_fail(err, SB_UNAVAILABLE, "Kafka does not say its cluster's id");
    (void)snprintf(s->cluster_id, sizeof s->cluster_id, "%s", id);
    rd_kafka_mem_free(sb_consumer_handle(s->consumer), id);
    return SB_OK;
}

/* At the end, which is told by the last record that is there: the seq of "now" holds in a topic that is made
 * anew and on other brokers, its offset does not. */
static sb_code_t begin_now(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    int64_t low, end;
    rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(sb_consumer_handle(s->consumer), slot->topic,
                                                                 slot->partition, &low, &end, CLUSTER_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "end of %s", slot->topic);
    slot->at.next_offset = end > low ? end - 1 : end;
    slot->begins_at = end;
    slot->low.next_offset = end; /* saved soon: a restart must not begin later */
    return SB_OK;
}

static void note_cluster(const sb_slot_t *slot)
{
    sb_sub_t *sub = slot->sub;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-CLUSTER",
           "other brokers than the position knew: reading from their beginning|subscription=%s topic=%s "
           "partition=%d seq=%lld",
           sub->config.name, slot->topic, (int)slot->partition, (long long)slot->at.seq);
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.clusters++;
    (void)pthread_mutex_unlock(&sub->lock);
}

/* A member that was stopped in the midst of a transaction holds its partitions. One that works on in a slow
 * handler has had the time to drain, and loses that transaction. */
static void end_idle(sb_subscriber_t *s, const sb_slot_t *slot)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t ended = 0;
    sb_code_t code = sb_inbox_end_idle(s->pg, slot->sub->config.name, slot->topic, slot->partition, s->owner,
                                       s->drain_ms, &ended, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-HELD-UP", &err,
                     "the member before is waited for|topic=%s partition=%d", slot->topic,
                     (int)slot->partition);
    else if (ended > 0)
        sb_log(SB_LOG_WARN, "SUBSCRIBER-HELD-UP",
               "ended transactions of the member before, which stood still|subscription=%s topic=%s "
               "partition=%d "
               "transactions=%lld",
               slot->sub->config.name, slot->topic, (int)slot->partition, (long long)ended);
}

static sb_code_t claim(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    sb_inbox_claim_t claimed;
    sb_code_t code = ensure_pg(s, err);
    if (code == SB_OK)
        code = sb_inbox_claim(s->pg, slot->sub->config.name, slot->topic, slot->partition, s->owner,
                              s->cluster_id, &claimed, err);
    if (code == SB_TIMEOUT && sb_pg_is_open(s->pg))
        end_idle(s, slot);
    if (code == SB_UNKNOWN_OUTCOME) /* the next claim raises the epoch once more */
        return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    if (code != SB_OK)
        return code;
    slot->epoch = claimed.epoch;
    slot->claimed_us = sb_mono_us();
    slot->at = slot->low = slot->saved = claimed.mark;
    slot->top = claimed.top;
    if (claimed.holds_keys)
        atomic_store(&slot->sub->holds_keys, true);
    if (claimed.other_cluster)
        note_cluster(slot);
    return SB_OK;
}

/* Where a subscription without a position begins. */
static sb_code_t begin_fresh(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    const sb_subscription_t *config = &slot->sub->config;
    if (config->from == SB_FROM_NOW)
        return begin_now(s, slot, err);
    if (config->from == SB_FROM_STORE) {
        slot->filling = true;
        slot->fill_after = config->from_seq;
    }
    return SB_OK;
}

/* Reading the store broke off before the first record of Kafka: it goes on, for Kafka may hold nothing that
 * would show what is missing. */
static void resume_store(sb_slot_t *slot)
{
    const sb_subscription_t *config = &slot->sub->config;
    if (config->from != SB_FROM_STORE || slot->at.incarnation == 0 || slot->at.next_offset >= 0)
        return;
    slot->filling = true;
    slot->fill_after = slot->at.seq > config->from_seq ? slot->at.seq : config->from_seq;
}

static sb_code_t place_slot(sb_subscriber_t *s, sb_slot_t *slot, int64_t committed, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (s->pg_uri)
        code = claim(s, slot, err);
    else
        slot->at.next_offset = slot->low.next_offset = committed;
    if (code == SB_OK && slot->at.next_offset < 0 && slot->at.incarnation == 0)
        code = begin_fresh(s, slot, err);
    if (code == SB_OK)
        resume_store(slot);
    return code;
}

static sb_code_t add_slot(sb_subscriber_t *s, sb_part_t *part, sb_sub_t *sub, int64_t committed,
                          sb_error_t *err)
{
    sb_slot_t *slot = sb_slot_new(sub, part->topic, part->partition);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    slot->next = part->slots;
    part->slots = slot;
    return place_slot(s, slot, committed, err);
}

static int64_t start_of(const sb_part_t *part)
{
    int64_t offset = NOWHERE;
    for (const sb_slot_t *slot = part->slots; slot; slot = slot->next)
        if (slot->at.next_offset < offset)
            offset = slot->at.next_offset;
    return offset;
}

static sb_code_t add_slots(sb_subscriber_t *s, sb_consumer_place_t *place, int64_t committed, sb_error_t *err)
{
    sb_part_t *part = find_part(s, place->topic, place->partition);
    if (part)
        drop_part(s, part);
    part = add_part(s, place->topic, place->partition);
    if (!part)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < s->sub_count; i++)
        if (wants_topic(s, &s->subs[i], place->topic))
            code = add_slot(s, part, &s->subs[i], committed, err);
    part->next_offset = start_of(part);
    if (part->next_offset == NOWHERE)
        place->offset = RD_KAFKA_OFFSET_END; /* for none of them */
    else
        place->offset = part->next_offset >= 0 ? part->next_offset : RD_KAFKA_OFFSET_BEGINNING;
    return code;
}

/* Without a database the group's offsets are the positions. */
static sb_code_t committed_offsets(sb_subscriber_t *s, const sb_consumer_place_t *places, size_t count,
                                   int64_t *out, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition);
    rd_kafka_resp_err_t error = rd_kafka_committed(sb_consumer_handle(s->consumer), list, CLUSTER_MS);
    for (size_t i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < count; i++) {
        error = list->elems[i].err;
        out[i] = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "committed offsets");
}

static void hand_out_all(sb_subscriber_t *s);

static sb_code_t on_assigned(void *context, sb_consumer_place_t *places, size_t count, sb_error_t *err)
{
    sb_subscriber_t *s = context;
    hand_out_all(s); /* a slot that is dropped lives as long as its entries, once they are dealt out */
    int64_t *committed = calloc(count, sizeof *committed);
    if (!committed)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    sb_code_t code = know_cluster(s, err);
    if (code == SB_OK && !s->pg_uri)
        code = committed_offsets(s, places, count, committed, err);
    for (size_t i = 0; code == SB_OK && i < count; i++)
        code = add_slots(s, &places[i], committed[i], err);
    free(committed);
    return code;
}

/* ---- positions and offsets ---- */

static bool same_mark(const sb_inbox_mark_t *a, const sb_inbox_mark_t *b)
{
    return a->incarnation == b->incarnation && a->seq == b->seq && a->next_offset == b->next_offset;
}

/* Takes the slot's mark for saving; false when there is nothing to save, or a lane is at it. */
static bool take_mark(sb_slot_t *slot, sb_inbox_save_t *out)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    bool take = !slot->saving && !same_mark(&slot->low, &slot->saved);
    if (take) {
        slot->saving = true;
        *out = (sb_inbox_save_t){.topic = slot->topic,
                                 .partition = slot->partition,
                                 .epoch = slot->epoch,
                                 .mark = slot->low,
                                 .pass = slot->top.seq > 0};
    }
    (void)pthread_mutex_unlock(&sub->lock);
    return take;
}

static void put_mark(sb_slot_t *slot, const sb_inbox_save_t *save, bool saved)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    slot->saving = false;
    if (saved)
        sb_slot_saved(slot, &save->mark);
    (void)pthread_mutex_unlock(&sub->lock);
}

/* False: the database cannot be reached. */
static bool save_slot(sb_subscriber_t *s, sb_slot_t *slot)
{
    sb_inbox_save_t save;
    sb_error_t err = SB_ERROR_INIT;
    if (!s->pg_uri || !take_mark(slot, &save))
        return true;
    sb_code_t code = ensure_pg(s, &err);
    if (code == SB_OK)
        code = sb_inbox_save(s->pg, slot->sub->config.name, &save, 1, &err);
    put_mark(slot, &save, code == SB_OK);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-SAVE", &err, "a position is saved later|subscription=%s",
                     slot->sub->config.name);
    return code == SB_OK;
}

/* What all its subscriptions are done with; without a slot there is nothing to say. */
static int64_t low_offset(const sb_part_t *part)
{
    int64_t low = NOWHERE;
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next) {
        (void)pthread_mutex_lock(&slot->sub->lock);
        if (slot->low.next_offset < low)
            low = slot->low.next_offset;
        (void)pthread_mutex_unlock(&slot->sub->lock);
    }
    return low == NOWHERE ? -1 : low;
}

static void commit_offsets(sb_subscriber_t *s, bool wait)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_consumer_place_t *places = calloc(s->part_count ? s->part_count : 1, sizeof *places);
    if (!places)
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        int64_t offset = low_offset(&s->parts[i]);
        places[i] = (sb_consumer_place_t){s->parts[i].topic, s->parts[i].partition,
                                          offset > s->parts[i].committed ? offset : -1};
    }
    sb_code_t code = sb_consumer_commit_at(s->consumer, places, s->part_count, wait, &err);
    for (size_t i = 0; code == SB_OK && i < s->part_count; i++)
        if (places[i].offset >= 0)
            s->parts[i].committed = places[i].offset;
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-COMMIT", &err, "offsets are committed later");
    free(places);
}

static void on_revoked(void *context, const sb_consumer_place_t *places, size_t count, bool lost)
{
    sb_subscriber_t *s = context;
    int64_t until_us = sb_mono_us() + (int64_t)s->drain_ms * 1000;
    bool reachable = true;
    hand_out_all(s); /* as above: the rebalance may come in the midst of a round */
    for (size_t i = 0; i < count; i++) {
        sb_part_t *part = find_part(s, places[i].topic, places[i].partition);
        for (sb_slot_t *slot = part ? part->slots : NULL; slot; slot = slot->next) {
            if (!sb_slot_drain(slot, lost ? 0 : until_us))
                sb_log(SB_LOG_WARN, "SUBSCRIBER-DRAIN",
                       "a handler is still at work in a partition that goes|subscription=%s topic=%s "
                       "partition=%d lost=%d",
                       slot->sub->config.name, slot->topic, (int)slot->partition, (int)lost);
            else
                reachable = reachable && save_slot(s, slot);
        }
    }
    if (!lost)
        commit_offsets(s, true);
    for (size_t i = 0; i < count; i++) {
        sb_part_t *part = find_part(s, places[i].topic, places[i].partition);
        if (part)
            drop_part(s, part);
    }
}

/* ---- dealing out ---- */

static uint32_t hash_of(sb_slice_t key)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (uint8_t)key.ptr[i]) * 16777619u;
    return hash;
}

static unsigned lane_of(const sb_sub_t *sub, const sb_slot_t *slot, const sb_fetched_t *fetched)
{
    const sb_message_t *message = &fetched->message;
    if (sub->config.lanes == 1)
        return 0;
    if (sub->config.order == SB_ORDER_PARTITION)
        return (unsigned)slot->partition % sub->config.lanes;
    if (sub->config.order == SB_ORDER_KEY)
        return (message->key.ptr ? hash_of(message->key) : (uint32_t)slot->partition) % sub->config.lanes;
    return (unsigned)(sub->round_count % sub->config.lanes);
}

static void put_outgoing(sb_sub_t *sub, unsigned lane, sb_entry_t *entry)
{
    entry->next = NULL;
    if (sub->outgoing_first[lane])
        sub->outgoing_last[lane]->next = entry;
    else
        sub->outgoing_first[lane] = entry;
    sub->outgoing_last[lane] = entry;
}

static void hand_out(sb_sub_t *sub)
{
    if (sub->round_count == 0)
        return;
    for (size_t i = 0; i < sub->round_count; i++)
        sub->round[i]->slot->round_pass = NULL;
    sb_slot_add_all(sub, sub->round, sub->round_count);
    sub->round_count = 0;
    for (unsigned lane = 0; lane < sub->config.lanes; lane++) {
        if (!sub->outgoing_first[lane])
            continue;
        /* There is room: a list has one entry at least, and there are never more of those than queue_max and
         * a round. */
        sb_code_t code = sb_queue_push(sub->lanes[lane].queue, sub->outgoing_first[lane]);
        assert(code == SB_OK);
        (void)code;
        sub->outgoing_first[lane] = sub->outgoing_last[lane] = NULL;
    }
}

sb_code_t sb_subscriber_deal(sb_slot_t *slot, sb_fetched_t *fetched, sb_inbox_mark_t mark, bool has_position,
                             sb_error_t *err)
{
    sb_sub_t *sub = slot->sub;
    if (!fetched && slot->round_pass) {
        slot->round_pass->mark = slot->at = mark;
        return SB_OK;
    }
    if (sub->round_count == SB_ROUND_MAX)
        hand_out(sub);
    sb_entry_t *entry = sb_entry_new(fetched);
    if (!entry)
        return sb_fail(err, SB_NO_MEMORY, "dealing out: out of memory");
    entry->slot = slot;
    entry->mark = mark;
    entry->has_position = has_position;
    entry->done = !fetched;
    slot->round_pass = fetched ? NULL : entry;
    if (fetched) {
        atomic_fetch_add(&fetched->refs, 1);
        entry->fetched = fetched;
        entry->bytes = sizeof *entry + sizeof *fetched + fetched->message.value.len;
        put_outgoing(sub, lane_of(sub, slot, fetched), entry);
    }
    sub->round[sub->round_count++] = entry;
    slot->at = mark;
    return SB_OK;
}

static void count_repeat(sb_sub_t *sub)
{
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.repeats++;
    (void)pthread_mutex_unlock(&sub->lock);
}

/* True when the store can fill it: the record comes again when that is done. */
static bool meet_gap(sb_subscriber_t *s, sb_slot_t *slot, const sb_fetched_t *fetched, int64_t after)
{
    const sb_position_t *position = &fetched->info.position;
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.gaps++;
    (void)pthread_mutex_unlock(&sub->lock);
    sb_log(s->store_uri ? SB_LOG_INFO : SB_LOG_ERROR, "SUBSCRIBER-GAP",
           "%s|subscription=%s topic=%s partition=%d after=%lld to=%lld",
           s->store_uri ? "a gap, read from the store"
                        : "events are missing and the store is not reachable (set store_uri)",
           sub->config.name, slot->topic, (int)slot->partition, (long long)after, (long long)position->prev);
    if (!s->store_uri)
        return false;
    slot->filling = slot->fill_is_gap = true;
    slot->fill_after = after;
    slot->fill_to = position->prev;
    slot->fill_incarnation = position->incarnation;
    slot->behind = true;
    slot->at.next_offset = fetched->message.offset;
    return true;
}

static sb_position_order_t place_of(const sb_slot_t *slot, const sb_fetched_t *fetched, int64_t *after)
{
    const sb_subscription_t *config = &slot->sub->config;
    bool by_seq = config->from == SB_FROM_SEQ || config->from == SB_FROM_STORE;
    const sb_position_t *position = &fetched->info.position;
    *after = slot->at.seq;
    if (fetched->info.has_position && slot->at.incarnation > 0) /* its offset says nothing in a new topic */
        return sb_position_compare(position, slot->at.incarnation, slot->at.seq);
    if (fetched->message.offset < slot->at.next_offset)
        return SB_POSITION_REPEAT;
    if (!fetched->info.has_position)
        return SB_POSITION_NEXT;
    if (!by_seq) /* what came before is not wanted, or not known */
        return SB_POSITION_NEXT;
    *after = config->from_seq;
    return sb_position_compare(position, position->incarnation, config->from_seq);
}

/* Offsets have holes, too, where nothing is missing; what is below the first one of the topic is. */
static void tell_if_forgotten(sb_subscriber_t *s, sb_slot_t *slot, const sb_message_t *message)
{
    sb_sub_t *sub = slot->sub;
    int64_t low = 0;
    int64_t high = 0;
    if (rd_kafka_get_watermark_offsets(sb_consumer_handle(s->consumer), message->topic, message->partition,
                                       &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        low <= slot->at.next_offset)
        return;
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.gaps++;
    (void)pthread_mutex_unlock(&sub->lock);
    sb_log(
        SB_LOG_ERROR, "SUBSCRIBER-GAP",
        "Kafka deleted records before they were read|subscription=%s topic=%s partition=%d from=%lld to=%lld",
        sub->config.name, slot->topic, (int)slot->partition, (long long)slot->at.next_offset,
        (long long)low - 1);
}

static sb_code_t offer(sb_subscriber_t *s, sb_slot_t *slot, sb_fetched_t *fetched, sb_error_t *err)
{
    const sb_position_t *position = &fetched->info.position;
    int64_t next = fetched->message.offset + 1;
    int64_t after;
    sb_inbox_mark_t passed = {slot->at.incarnation, slot->at.seq, next};
    sb_position_order_t order = place_of(slot, fetched, &after);
    if (order == SB_POSITION_REPEAT) {
        if (next <= slot->at.next_offset) /* the fetch went back for another subscription */
            return SB_OK;
        count_repeat(slot->sub);
        return sb_subscriber_deal(slot, NULL, passed, false, err);
    }
    bool wanted = next > slot->begins_at && (fetched->fault || sb_sub_wants(slot->sub, fetched->event.type));
    if (slot->sub->full && (wanted || order == SB_POSITION_GAP)) {
        slot->behind = true;
        return SB_OK;
    }
    if (order == SB_POSITION_GAP && meet_gap(s, slot, fetched, after))
        return SB_OK;
    if (!fetched->info.has_position && slot->at.next_offset >= 0 && next - 1 > slot->at.next_offset)
        tell_if_forgotten(s, slot, &fetched->message);
    if (fetched->info.has_position)
        passed = (sb_inbox_mark_t){position->incarnation, position->seq, next};
    return sb_subscriber_deal(slot, wanted ? fetched : NULL, passed, fetched->info.has_position, err);
}

/* The topic was made anew, or cut: offsets begin lower than they were. Positions tell what is new in it;
 * where there are none, all of it is read, and the inbox tells what is not. */
static void note_lower_offset(sb_part_t *part, int64_t offset)
{
    if (offset >= part->next_offset)
        return;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-OFFSET",
           "the partition goes on at a lower offset|topic=%s partition=%d expected=%lld offset=%lld",
           part->topic, (int)part->partition, (long long)part->next_offset, (long long)offset);
    part->committed = -1;
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next) {
        if (slot->at.next_offset <= offset)
            continue;
        slot->begins_at = 0;
        if (slot->at.incarnation > 0)
            slot->at.next_offset = offset;
        else
            slot->anew = true;
    }
}

/* Consumes record. */
static sb_code_t take_record(sb_subscriber_t *s, rd_kafka_message_t *record, sb_error_t *err)
{
    sb_part_t *part = find_part(s, rd_kafka_topic_name(record->rkt), record->partition);
    sb_fetched_t *fetched = part ? sb_fetched_new(s) : NULL;
    if (!fetched) {
        int64_t next = record->offset + 1;
        rd_kafka_message_destroy(record);
        for (sb_slot_t *slot = part ? part->slots : NULL; slot; slot = slot->next)
            slot->behind = true;
        if (part)
            part->next_offset = next;
        return part ? sb_fail(err, SB_NO_MEMORY, "fetch: out of memory") : SB_OK;
    }
    sb_fetched_take(fetched, record);
    note_lower_offset(part, fetched->message.offset);
    sb_code_t code = sb_fetched_decode(fetched, err);
    for (sb_slot_t *slot = part->slots; code == SB_OK && slot; slot = slot->next)
        if (!slot->behind && !slot->filling && !slot->anew)
            code = offer(s, slot, fetched, err);
    part->next_offset = fetched->message.offset + 1;
    for (sb_slot_t *slot = part->slots; code != SB_OK && slot; slot = slot->next)
        slot->behind = slot->behind || slot->at.next_offset < part->next_offset; /* it is fetched again */
    sb_fetched_drop(fetched);
    return code;
}

/* ---- room ---- */

/* Looks which subscriptions have room; false when none has. */
static bool any_room(sb_subscriber_t *s)
{
    bool room = false;
    for (size_t i = 0; i < s->sub_count; i++) {
        sb_sub_t *sub = &s->subs[i];
        (void)pthread_mutex_lock(&sub->lock);
        int64_t waiting = sub->waiting;
        int64_t bytes = sub->waiting_bytes;
        (void)pthread_mutex_unlock(&sub->lock);
        if (waiting >= s->queue_max || bytes >= BYTES_MAX) {
            sub->full_since_us = sub->full ? sub->full_since_us : sb_mono_us();
            sub->full = true;
        } else if (waiting <= s->queue_max / 2 && bytes <= BYTES_MAX / 2) {
            sub->full = false;
        }
        room = room || !sub->full;
    }
    return room;
}

/* A lane that is done with what is waited for ends the wait. */
static void await_room(sb_subscriber_t *s)
{
    atomic_store(&s->room_below, s->queue_max > 1 ? s->queue_max / 2 : 1);
    if (!any_room(s))
        (void)sb_signal_wait(&s->room, FULL_WAIT_MS);
    atomic_store(&s->room_below, 0);
}

/* One that is only a little slower than the fetch is waited for: going back for it costs more. */
static bool is_worth_waiting(const sb_subscriber_t *s)
{
    int64_t now_us = sb_mono_us();
    for (size_t i = 0; i < s->part_count; i++)
        for (const sb_slot_t *slot = s->parts[i].slots; slot; slot = slot->next)
            if (slot->behind && !slot->filling && slot->sub->full &&
                now_us - slot->sub->full_since_us < PATIENCE_US)
                return true;
    return false;
}

/* It has no place in Kafka just now. */
static bool is_elsewhere(const sb_slot_t *slot)
{
    return slot->filling || slot->anew;
}

/* Moves the fetch of a partition to where it is wanted first. */
static void catch_up(sb_subscriber_t *s, sb_part_t *part)
{
    int64_t wanted = NOWHERE;
    bool any_behind = false;
    sb_error_t err = SB_ERROR_INIT;
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next) {
        any_behind = any_behind || slot->behind;
        if (!slot->sub->full && !is_elsewhere(slot) && slot->at.next_offset < wanted)
            wanted = slot->at.next_offset;
    }
    if (!any_behind || wanted == NOWHERE)
        return;
    if (wanted != part->next_offset) {
        int64_t to = wanted >= 0 ? wanted : RD_KAFKA_OFFSET_BEGINNING;
        sb_code_t code = sb_consumer_seek(s->consumer, part->topic, part->partition, to, &err);
        if (code != SB_OK) {
            sb_log_error(SB_LOG_INFO, "SUBSCRIBER-SEEK", &err, "the fetch goes back later");
            return;
        }
        part->next_offset = wanted;
    }
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next)
        if (!slot->sub->full && !is_elsewhere(slot) && slot->at.next_offset >= wanted)
            slot->behind = false;
}

/* One page for each slot that reads the store. */
static bool fill_all(sb_subscriber_t *s)
{
    bool any = false;
    sb_error_t err = SB_ERROR_INIT;
    for (size_t i = 0; i < s->part_count; i++) {
        for (sb_slot_t *slot = s->parts[i].slots; slot; slot = slot->next) {
            if (!slot->filling)
                continue;
            any = true;
            if (slot->sub->full || sb_mono_us() < s->store_again_us)
                continue;
            slot->behind = true; /* it comes back to Kafka at its own offset */
            sb_code_t code = sb_subscriber_fill(s, &s->parts[i], slot, &err);
            hand_out(slot->sub);
            (void)any_room(s); /* a page of each of many partitions is more than a queue holds */
            if (code == SB_OK)
                continue;
            s->store_again_us = sb_mono_us() + STORE_AGAIN_US;
            sb_log_error(SB_LOG_WARN, "SUBSCRIBER-STORE", &err, "the store is read later|subscription=%s",
                         slot->sub->config.name);
            sb_error_clear(&err);
        }
    }
    return any;
}

/* ---- topics that were made anew ---- */

static sb_code_t begin_again(sb_subscriber_t *s, sb_part_t *part, sb_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = s->pg_uri ? ensure_pg(s, err) : SB_OK;
    if (code == SB_OK && s->pg_uri)
        code = sb_inbox_begin_again(s->pg, slot->sub->config.name, slot->topic, slot->partition, slot->epoch,
                                    err);
    if (code != SB_OK)
        return code;
    sb_slot_begin_again(slot);
    slot->anew = false;
    slot->behind = true;
    part->committed = -1;
    return SB_OK;
}

static void begin_again_all(sb_subscriber_t *s)
{
    static const sb_retry_policy_t patience = {SB_RETRY_EXPONENTIAL, 0, 500, 10000, false};
    sb_error_t err = SB_ERROR_INIT;
    if (sb_mono_us() < s->begin_again_us)
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        for (sb_slot_t *slot = s->parts[i].slots; slot; slot = slot->next) {
            if (!slot->anew || !sb_slot_is_idle(slot))
                continue;
            sb_code_t code = begin_again(s, &s->parts[i], slot, &err);
            s->begin_failures = code == SB_OK ? 0 : s->begin_failures + 1;
            if (code == SB_OK)
                continue;
            uint32_t pause_ms = sb_retry_delay_ms(&patience, s->begin_failures, 0);
            s->begin_again_us = sb_mono_us() + (int64_t)pause_ms * 1000;
            sb_log_error(SB_LOG_INFO, "SUBSCRIBER-OFFSET", &err,
                         "the topic is read from its beginning in %u ms", pause_ms);
            return;
        }
    }
}

/* ---- partitions that somebody else claimed meanwhile ---- */

/* Claims a partition again that is ours in the group, though a newer epoch was found: a member that stood
 * still has acted on an assignment that was over. Each time later than before, should two insist. */
static sb_code_t reclaim(sb_subscriber_t *s, sb_slot_t **link, sb_error_t *err)
{
    sb_slot_t *gone = *link;
    sb_slot_t *slot = sb_slot_new(gone->sub, gone->topic, gone->partition);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "claim: out of memory");
    sb_code_t code = place_slot(s, slot, -1, err);
    if (code != SB_OK) {
        sb_slot_unref(slot);
        return code;
    }
    slot->losses = slot->claimed_us - gone->claimed_us > KEPT_US ? 0 : gone->losses + 1;
    slot->behind = true;
    slot->next = gone->next;
    *link = slot;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-RECLAIM",
           "another member had claimed a partition that is ours|subscription=%s topic=%s partition=%d "
           "epoch=%lld",
           slot->sub->config.name, slot->topic, (int)slot->partition, (long long)slot->epoch);
    sb_slot_unref(gone);
    return SB_OK;
}

static bool is_due(sb_slot_t *slot)
{
    int64_t now_us = sb_mono_us();
    int doublings = slot->losses < RECLAIMS_MAX ? slot->losses : RECLAIMS_MAX;
    if (!slot->reclaim_us)
        slot->reclaim_us = slot->losses ? now_us + ((int64_t)RECLAIM_US << doublings) : now_us;
    return now_us >= slot->reclaim_us;
}

static void reclaim_all(sb_subscriber_t *s)
{
    sb_error_t err = SB_ERROR_INIT;
    if (sb_consumer_has_rebalance(s->consumer) || rd_kafka_assignment_lost(sb_consumer_handle(s->consumer)))
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        for (sb_slot_t **link = &s->parts[i].slots; *link; link = &(*link)->next) {
            if (!atomic_load(&(*link)->gone) || !is_due(*link))
                continue;
            sb_code_t code = reclaim(s, link, &err);
            if (code == SB_OK)
                continue;
            sb_log_error(SB_LOG_INFO, "SUBSCRIBER-RECLAIM", &err, "a partition is claimed again later");
            return;
        }
    }
}

/* ---- now and then ---- */

static void look_at_lanes(sb_sub_t *sub)
{
    int64_t now_us = sb_mono_us();
    int64_t stuck = 0;
    for (unsigned i = 0; i < sub->config.lanes; i++) {
        sb_lane_t *lane = &sub->lanes[i];
        int64_t since_us = atomic_load(&lane->busy_since_us);
        bool is_stuck = since_us && now_us - since_us > (int64_t)sub->config.stuck_after_ms * 1000;
        stuck += is_stuck;
        if (is_stuck && !lane->told_stuck)
            sb_log(SB_LOG_WARN, "SUBSCRIBER-STUCK",
                   "a handler does not come back|subscription=%s lane=%d ms=%lld", sub->config.name,
                   lane->number, (long long)((now_us - since_us) / 1000));
        lane->told_stuck = is_stuck;
    }
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.stuck = stuck;
    (void)pthread_mutex_unlock(&sub->lock);
}

/* Types that were registered since: their events come as they were written until then. */
static void refresh_catalog(sb_subscriber_t *s, int64_t now_us)
{
    sb_error_t err = SB_ERROR_INIT;
    if (!s->catalog || now_us < s->catalog_us)
        return;
    s->catalog_us = now_us + CATALOG_US;
    sb_code_t code = sb_subscriber_store(s, &err);
    if (code == SB_OK)
        code = sb_catalog_load(s->catalog, s->store_pg, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-CATALOG", &err, "the catalog is read again later");
}

static void look(sb_subscriber_t *s)
{
    int64_t now_us = sb_mono_us();
    if (now_us < s->look_us)
        return;
    s->look_us = now_us + LOOK_US;
    for (size_t i = 0; i < s->sub_count; i++)
        look_at_lanes(&s->subs[i]);
    bool reachable = true;
    for (size_t i = 0; i < s->part_count; i++)
        for (sb_slot_t *slot = s->parts[i].slots; slot && reachable; slot = slot->next)
            reachable = save_slot(s, slot);
    commit_offsets(s, false);
    reclaim_all(s);
    refresh_catalog(s, now_us);
}

/* ---- the loop ---- */

static void hand_out_all(sb_subscriber_t *s)
{
    for (size_t i = 0; i < s->sub_count; i++)
        hand_out(&s->subs[i]);
}

/* Nobody has room: polls only so that the group knows us. */
static sb_code_t wait_for_room(sb_subscriber_t *s, sb_error_t *err)
{
    rd_kafka_message_t *record = NULL;
    int64_t now_us = sb_mono_us();
    if (!s->full_since_us)
        s->full_since_us = now_us;
    if (now_us - s->full_since_us < HOLD_AFTER_US) {
        await_room(s);
        return SB_OK;
    }
    sb_consumer_hold(s->consumer, true);
    sb_code_t code = sb_consumer_next(s->consumer, POLL_MS, &record, err);
    return code == SB_OK && record ? take_record(s, record, err) : code;
}

static sb_code_t fetch(sb_subscriber_t *s, int timeout_ms, sb_error_t *err)
{
    unsigned max = s->queue_max / 2 < SB_ROUND_MAX ? s->queue_max / 2 : SB_ROUND_MAX;
    sb_code_t code = SB_OK;
    for (unsigned n = 0; code == SB_OK && n < (max ? max : 1); n++) {
        rd_kafka_message_t *record = NULL;
        code = sb_consumer_next(s->consumer, n ? 0 : timeout_ms, &record, err);
        if (code != SB_OK || !record)
            break;
        code = take_record(s, record, err);
        if (sb_consumer_has_rebalance(s->consumer))
            break;
    }
    return code;
}

static sb_code_t one_round(sb_subscriber_t *s, sb_error_t *err)
{
    sb_fetched_reap(s);
    look(s);
    begin_again_all(s);
    bool room = any_room(s);
    bool filling = fill_all(s);
    bool patient = room && is_worth_waiting(s);
    for (size_t i = 0; room && !patient && i < s->part_count; i++)
        catch_up(s, &s->parts[i]);
    sb_code_t code = SB_OK;
    if (patient) {
        sb_sleep_ms(1);
    } else if (room) {
        s->full_since_us = 0;
        sb_consumer_hold(s->consumer, false);
        code = fetch(s, filling ? FULL_WAIT_MS : POLL_MS, err);
    } else {
        code = wait_for_room(s, err);
    }
    hand_out_all(s);
    return code;
}

static bool is_final(sb_code_t code)
{
    return code != SB_UNAVAILABLE && code != SB_TIMEOUT && code != SB_NO_MEMORY && code != SB_BUSY &&
           code != SB_UNKNOWN_OUTCOME && code != SB_NOT_FOUND && code != SB_CONFLICT;
}

sb_code_t sb_subscriber_fetch(sb_subscriber_t *s, sb_error_t *err)
{
    const sb_consumer_hooks_t hooks = {on_assigned, on_revoked, s, s->instance_id};
    sb_code_t code = sb_consumer_open_hooked(&s->consumer, s->config, s->group,
                                             (const char *const *)s->topics, s->topic_count, &hooks, err);
    while (code == SB_OK && !atomic_load(&s->stopping)) {
        sb_error_t why = SB_ERROR_INIT;
        code = one_round(s, &why);
        if (code == SB_OK)
            continue;
        if (is_final(code)) {
            if (err)
                *err = why;
            break;
        }
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-WAIT", &why, "goes on in a moment|group=%s", s->group);
        sb_sleep_ms(AGAIN_MS);
        code = SB_OK;
    }
    return code;
}

void sb_subscriber_fetch_end(sb_subscriber_t *s)
{
    sb_fetched_reap(s);
    sb_consumer_t *leaving = s->consumer; /* s keeps it: partitions are given up on the way */
    sb_consumer_close(&leaving, CLOSE_MS);
    s->consumer = NULL;
    while (s->part_count > 0)
        drop_part(s, &s->parts[s->part_count - 1]);
    free(s->parts);
    s->parts = NULL;
    sb_store_close(&s->store);
    sb_catalog_free(&s->catalog);
    sb_pg_close(&s->store_pg);
    sb_pg_close(&s->pg);
}
