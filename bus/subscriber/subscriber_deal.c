/* Deals each record out to the subscriptions it is for: a repeat only moves the mark, a gap is read from the
 * store, and one without room falls behind. All of it is the fetching thread's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/log.h"

#include <assert.h>

bool sb_sub_wants(const sb_sub_t *sub, sb_slice_t type)
{
    for (size_t i = 0; i < sub->config.type_count; i++)
        if (sb_subscriber_fits(sub->config.types[i], type))
            return true;
    return false;
}

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

void sb_deal_hand_out_one(sb_sub_t *sub)
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
        sb_deal_hand_out_one(sub);
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

/* The lane that alone takes a record decodes it. Here it is decoded for several that share it, and to tell
 * what is no event, which is for everybody, from an event that is not wanted. */
static sb_code_t is_wanted(const sb_slot_t *slot, sb_fetched_t *fetched, bool *wanted, sb_error_t *err)
{
    *wanted = false;
    if (fetched->message.offset < slot->begins_at)
        return SB_OK;
    *wanted = fetched->event.type.ptr && sb_sub_wants(slot->sub, fetched->event.type);
    if (fetched->decoded || (*wanted && !fetched->entry_taken)) {
        *wanted = *wanted || fetched->fault;
        return SB_OK;
    }
    sb_code_t code = sb_fetched_decode(fetched, err);
    *wanted = *wanted || fetched->fault;
    return code;
}

static sb_code_t offer(sb_subscriber_t *s, sb_slot_t *slot, sb_fetched_t *fetched, sb_error_t *err)
{
    const sb_position_t *position = &fetched->info.position;
    int64_t next = fetched->message.offset + 1;
    int64_t after;
    bool wanted;
    sb_inbox_mark_t passed = {slot->at.incarnation, slot->at.seq, next};
    sb_position_order_t order = place_of(slot, fetched, &after);
    if (order == SB_POSITION_REPEAT) {
        if (next <= slot->at.next_offset) /* the fetch went back for another subscription */
            return SB_OK;
        count_repeat(slot->sub);
        return sb_subscriber_deal(slot, NULL, passed, false, err);
    }
    sb_code_t code = is_wanted(slot, fetched, &wanted, err);
    if (code != SB_OK)
        return code;
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
sb_code_t sb_deal_record(sb_subscriber_t *s, rd_kafka_message_t *record, sb_error_t *err)
{
    sb_part_t *part = sb_part_find(s, rd_kafka_topic_name(record->rkt), record->partition);
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
    sb_code_t code = sb_fetched_glance(fetched, err);
    for (sb_slot_t *slot = part->slots; code == SB_OK && slot; slot = slot->next)
        if (!slot->behind && !slot->filling && !slot->anew)
            code = offer(s, slot, fetched, err);
    part->next_offset = fetched->message.offset + 1;
    for (sb_slot_t *slot = part->slots; code != SB_OK && slot; slot = slot->next)
        slot->behind = slot->behind || slot->at.next_offset < part->next_offset; /* it is fetched again */
    sb_fetched_drop(fetched);
    return code;
}

void sb_deal_hand_out(sb_subscriber_t *s)
{
    for (size_t i = 0; i < s->sub_count; i++)
        sb_deal_hand_out_one(&s->subs[i]);
}
