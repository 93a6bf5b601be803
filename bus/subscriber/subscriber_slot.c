/* What is not done, by subscription and partition. Entries of a slot stand in the order of the partition;
 * each says where the slot stands when it and all before it are done, so the mark is the one of the last done
 * entry before the first that is not.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/scan.h"

#include <stdlib.h>
#include <time.h>

#define OWN_MAX_BYTES  1024 /* a larger record is kept as librdkafka has it: copying it would cost more */
#define NAME_MAX_BYTES 2000 /* of source and id: an entry of an index has its limit */

/* ---- records ---- */

/* Memory goes round: the fetching thread takes all that was given back at once, so no one waits for another.
 */
static sb_fetched_t *take_spare(sb_subscriber_t *pool)
{
    if (!pool->spare)
        pool->spare = atomic_exchange(&pool->given_back, NULL);
    sb_fetched_t *fetched = pool->spare;
    if (fetched)
        pool->spare = fetched->pooled;
    return fetched;
}

sb_fetched_t *sb_fetched_new(sb_subscriber_t *pool)
{
    sb_fetched_t *fetched = pool ? take_spare(pool) : NULL;
    if (!fetched) {
        fetched = malloc(sizeof *fetched);
        if (!fetched)
            return NULL;
        fetched->own = NULL;
        fetched->own_size = 0;
    }
    atomic_init(&fetched->refs, 1);
    atomic_init(&fetched->memory, 1);
    fetched->pool = pool;
    fetched->record = NULL;
    fetched->fault = fetched->copy = NULL;
    fetched->scratch = (sb_buf_t)SB_BUF_INIT;
    fetched->entry_taken = fetched->decoded = false;
    return fetched;
}

/* Of the copy of a header's name: of those that everyone has there is one already. */
static size_t length_of(const char *name)
{
    return sb_message_is_known_name(name) ? 0 : strlen(name) + 1;
}

static size_t size_of(const sb_message_t *message)
{
    size_t size = strlen(message->topic) + 1 + message->key.len + message->value.len;
    for (size_t i = 0; i < message->header_count; i++)
        size += length_of(message->headers[i].name) + message->headers[i].value.len;
    return size;
}

static char *put_text(char **at, const char *text)
{
    char *start = *at;
    *at = stpcpy(start, text) + 1;
    return start;
}

static void put_slice(char **at, sb_slice_t *slice)
{
    if (!slice->ptr)
        return;
    memcpy(*at, slice->ptr, slice->len);
    slice->ptr = *at;
    *at += slice->len;
}

void sb_fetched_take(sb_fetched_t *fetched, rd_kafka_message_t *record)
{
    sb_message_t *message = &fetched->message;
    sb_kafka_message(record, message);
    size_t size = size_of(message);
    if (size <= OWN_MAX_BYTES && size > fetched->own_size) {
        free(fetched->own);
        fetched->own = malloc(OWN_MAX_BYTES);
        fetched->own_size = fetched->own ? OWN_MAX_BYTES : 0;
    }
    if (size > fetched->own_size) {
        fetched->record = record;
        return;
    }
    char *at = fetched->own;
    message->topic = put_text(&at, message->topic);
    for (size_t i = 0; i < message->header_count; i++) {
        if (!sb_message_is_known_name(message->headers[i].name))
            message->headers[i].name = put_text(&at, message->headers[i].name);
        put_slice(&at, &message->headers[i].value);
    }
    put_slice(&at, &message->key);
    put_slice(&at, &message->value);
    rd_kafka_message_destroy(record);
}

static void push(_Atomic(sb_fetched_t *) *list, sb_fetched_t *fetched)
{
    fetched->pooled = atomic_load(list);
    while (!atomic_compare_exchange_weak(list, &fetched->pooled, fetched))
        ;
}

static void free_memory(sb_fetched_t *fetched)
{
    free(fetched->own);
    free(fetched);
}

static void give_back(sb_fetched_t *fetched)
{
    if (atomic_fetch_sub(&fetched->memory, 1) > 1)
        return;
    if (fetched->pool)
        push(&fetched->pool->given_back, fetched);
    else
        free_memory(fetched);
}

static void destroy(sb_fetched_t *fetched)
{
    if (fetched->record)
        rd_kafka_message_destroy(fetched->record);
    sb_buf_fini(&fetched->scratch);
    free(fetched->fault);
    free(fetched->copy);
    give_back(fetched);
}

void sb_fetched_drop(sb_fetched_t *fetched)
{
    if (!fetched || atomic_fetch_sub(&fetched->refs, 1) > 1)
        return;
    if (fetched->pool && fetched->record)
        push(&fetched->pool->done, fetched);
    else
        destroy(fetched);
}

void sb_fetched_reap(sb_subscriber_t *pool)
{
    sb_fetched_t *fetched = atomic_exchange(&pool->done, NULL);
    while (fetched) {
        sb_fetched_t *following = fetched->pooled;
        destroy(fetched);
        fetched = following;
    }
}

void sb_fetched_pool_free(sb_subscriber_t *pool)
{
    sb_fetched_reap(pool);
    for (sb_fetched_t *fetched; (fetched = take_spare(pool));)
        free_memory(fetched);
}

sb_entry_t *sb_entry_new(sb_fetched_t *fetched)
{
    if (!fetched || fetched->entry_taken)
        return calloc(1, sizeof(sb_entry_t));
    fetched->entry_taken = true;
    atomic_fetch_add(&fetched->memory, 1);
    fetched->entry = (sb_entry_t){.home = fetched};
    return &fetched->entry;
}

void sb_entry_free(sb_entry_t *entry)
{
    sb_fetched_t *home = entry->home;
    sb_fetched_drop(entry->fetched);
    free(entry->error);
    free(entry->body);
    if (home)
        give_back(home);
    else
        free(entry);
}

/* What has no id of its own is known by its place. */
static sb_code_t keep_fault(sb_fetched_t *fetched, const char *text, sb_error_t *err)
{
    const sb_message_t *message = &fetched->message;
    sb_buf_reset(&fetched->scratch);
    sb_buf_printf(&fetched->scratch, "%s/%d/%lld", message->topic, (int)message->partition,
                  (long long)message->offset);
    free(fetched->fault); /* of a try that ran out of memory */
    fetched->fault = strdup(text);
    if (!fetched->fault || sb_buf_failed(&fetched->scratch))
        return sb_fail(err, SB_NO_MEMORY, "decode: out of memory");
    fetched->event = (sb_event_t){.source = SB_SLICE("kafka:"), .type = SB_SLICE_NONE};
    fetched->info = (sb_message_info_t){.id = sb_buf_slice(&fetched->scratch)};
    fetched->info.has_position =
        sb_position_parse(sb_message_header(message, SB_POSITION_HEADER), &fetched->info.position);
    return SB_OK;
}

sb_code_t sb_fetched_glance(sb_fetched_t *fetched, sb_error_t *err)
{
    return sb_message_glance(&fetched->message, &fetched->event.type, &fetched->info)
               ? SB_OK
               : sb_fetched_decode(fetched, err);
}

/* Why it is no event of ours, although it can be read; NULL: it is one. */
static const char *fault_of(const sb_fetched_t *fetched)
{
    const sb_slice_t *id = &fetched->info.id;
    const sb_slice_t *source = &fetched->event.source;
    if (!sb_utf8_ok(*id) || !sb_utf8_ok(*source) || !sb_utf8_ok(fetched->event.type))
        return "it is no event: its id, source or type is not UTF-8";
    if (id->len + source->len > NAME_MAX_BYTES)
        return "it is no event: its id and source are longer than 2000 bytes";
    return NULL;
}

sb_code_t sb_fetched_decode(sb_fetched_t *fetched, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    if (fetched->decoded)
        return SB_OK;
    sb_code_t code =
        sb_message_decode(&fetched->message, &fetched->scratch, &fetched->event, &fetched->info, &why);
    if (code == SB_NO_MEMORY)
        return sb_fail(err, SB_NO_MEMORY, "decode: out of memory");
    const char *fault = code == SB_OK ? fault_of(fetched) : why.message;
    code = fault ? keep_fault(fetched, fault, err) : SB_OK;
    fetched->decoded = code == SB_OK;
    return code;
}

void sb_fetched_delivery(const sb_fetched_t *fetched, sb_delivery_t *out)
{
    const sb_message_t *message = &fetched->message;
    *out = (sb_delivery_t){.event = fetched->event,
                           .id = fetched->info.id,
                           .topic = message->topic,
                           .partition = message->partition,
                           .offset = message->offset,
                           .key = message->key,
                           .value = message->value,
                           .headers = message->headers,
                           .header_count = message->header_count,
                           .attempt = 1};
    if (fetched->info.has_position)
        out->event.seq = fetched->info.position.seq;
}

/* ---- slots ---- */

sb_slot_t *sb_slot_new(sb_sub_t *sub, const char *topic, int32_t partition)
{
    sb_slot_t *slot = calloc(1, sizeof *slot);
    char *name = strdup(topic);
    if (!slot || !name) {
        free(slot);
        free(name);
        return NULL;
    }
    *slot = (sb_slot_t){.sub = sub, .topic = name, .partition = partition, .refs = 1};
    atomic_init(&slot->gone, false);
    slot->at.next_offset = slot->low.next_offset = slot->saved.next_offset = -1;
    return slot;
}

static void free_slot(sb_slot_t *slot)
{
    while (slot->oldest) {
        sb_entry_t *entry = slot->oldest;
        slot->oldest = entry->follower;
        sb_entry_free(entry);
    }
    free(slot->topic);
    free(slot);
}

/* Lock: held. Frees it with its last reference. */
static void unref(sb_slot_t *slot)
{
    if (--slot->refs == 0)
        free_slot(slot);
}

void sb_slot_unref(sb_slot_t *slot)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    unref(slot);
    (void)pthread_mutex_unlock(&sub->lock);
}

/* Lock: held. Moves the mark over what is done and frees it. */
static void advance(sb_slot_t *slot)
{
    while (slot->oldest && slot->oldest->done) {
        sb_entry_t *entry = slot->oldest;
        slot->oldest = entry->follower;
        if (!slot->oldest)
            slot->newest = NULL;
        slot->low = entry->mark;
        sb_entry_free(entry);
    }
}

/* Lock: held. */
static void append(sb_slot_t *slot, sb_entry_t *entry)
{
    sb_entry_t *newest = slot->newest;
    if (entry->done && newest && newest->done) { /* one of them is enough */
        newest->mark = entry->mark;
        sb_entry_free(entry);
        return;
    }
    entry->follower = NULL;
    if (newest)
        newest->follower = entry;
    else
        slot->oldest = entry;
    slot->newest = entry;
    if (entry->done)
        return;
    slot->refs++;
    slot->sub->waiting++;
    slot->sub->waiting_bytes += (int64_t)entry->bytes;
}

void sb_slot_add_all(sb_sub_t *sub, sb_entry_t *const *round, size_t count)
{
    (void)pthread_mutex_lock(&sub->lock);
    for (size_t i = 0; i < count; i++) {
        sb_slot_t *slot = round[i]->slot;
        append(slot, round[i]);
        if (slot->oldest->done)
            advance(slot);
    }
    (void)pthread_mutex_unlock(&sub->lock);
}

bool sb_slot_is_idle(const sb_slot_t *slot)
{
    (void)pthread_mutex_lock(&slot->sub->lock);
    bool idle = !slot->oldest && !slot->saving;
    (void)pthread_mutex_unlock(&slot->sub->lock);
    return idle;
}

void sb_slot_begin_again(sb_slot_t *slot)
{
    (void)pthread_mutex_lock(&slot->sub->lock);
    slot->at.next_offset = slot->low.next_offset = slot->saved.next_offset = -1;
    (void)pthread_mutex_unlock(&slot->sub->lock);
}

bool sb_slot_drain(sb_slot_t *slot, int64_t until_us)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    atomic_store(&slot->gone, true);
    while (slot->in_hand > 0) {
        int64_t left_us = until_us - sb_mono_us();
        struct timespec until;
        if (left_us <= 0)
            break;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        int64_t ns = until.tv_nsec + left_us % 1000000 * 1000;
        until.tv_sec += left_us / 1000000 + ns / 1000000000;
        until.tv_nsec = ns % 1000000000;
        (void)pthread_cond_timedwait(&sub->idle, &sub->lock, &until);
    }
    bool drained = slot->in_hand == 0;
    (void)pthread_mutex_unlock(&sub->lock);
    return drained;
}

/* ---- the lanes' side ---- */

void sb_slot_enter(const sb_lane_t *lane, sb_entry_t *const *entries, size_t count)
{
    (void)pthread_mutex_lock(&lane->sub->lock);
    for (size_t i = 0; i < count; i++) {
        sb_slot_t *slot = entries[i]->slot;
        bool ours = !atomic_load(&slot->gone);
        slot->in_hand += ours;
        entries[i]->holder = ours ? lane : NULL;
    }
    (void)pthread_mutex_unlock(&lane->sub->lock);
}

/* Lock: held. */
static void leave(sb_sub_t *sub, sb_entry_t *entry)
{
    entry->holder = NULL;
    if (--entry->slot->in_hand == 0)
        (void)pthread_cond_broadcast(&sub->idle);
}

void sb_slot_leave(sb_sub_t *sub, sb_entry_t *const *entries, size_t count)
{
    (void)pthread_mutex_lock(&sub->lock);
    for (size_t i = 0; i < count; i++)
        leave(sub, entries[i]);
    (void)pthread_mutex_unlock(&sub->lock);
}

/* Lock: held. Each slot once, because an entry may be freed by the mark that moves over it. */
static void touch(sb_slot_t *slot, sb_slot_t **touched)
{
    if (slot->touched)
        return;
    slot->touched = true;
    slot->touched_next = *touched;
    *touched = slot;
    slot->refs++;
}

static void tell_room(sb_subscriber_t *s, int64_t waiting)
{
    long long below = atomic_load(&s->room_below);
    if (below > 0 && waiting <= below && atomic_exchange(&s->room_below, 0) > 0)
        sb_signal_raise(&s->room);
}

void sb_slot_done(sb_sub_t *sub, sb_entry_t *const *entries, size_t count)
{
    sb_slot_t *touched = NULL;
    for (size_t i = 0; i < count; i++) {
        sb_fetched_drop(entries[i]->fetched);
        entries[i]->fetched = NULL;
    }
    (void)pthread_mutex_lock(&sub->lock);
    for (size_t i = 0; i < count; i++) {
        sb_entry_t *entry = entries[i];
        touch(entry->slot, &touched);
        leave(sub, entry);
        entry->done = true;
        entry->slot->refs--;
        sub->waiting--;
        sub->waiting_bytes -= (int64_t)entry->bytes;
    }
    while (touched) {
        sb_slot_t *slot = touched;
        touched = slot->touched_next;
        slot->touched = false;
        advance(slot);
        unref(slot);
    }
    int64_t waiting = sub->waiting;
    (void)pthread_mutex_unlock(&sub->lock);
    tell_room(sub->subscriber, waiting);
}

sb_inbox_mark_t sb_slot_would_be(const sb_slot_t *slot, const sb_lane_t *lane)
{
    sb_inbox_mark_t mark = slot->low;
    for (const sb_entry_t *entry = slot->oldest; entry && (entry->done || entry->holder == lane);
         entry = entry->follower)
        mark = entry->mark;
    return mark;
}

void sb_slot_saved(sb_slot_t *slot, const sb_inbox_mark_t *mark)
{
    const sb_inbox_top_t passed = {mark->incarnation, mark->seq};
    slot->saved = *mark;
    slot->saved_us = sb_mono_us();
    if (!sb_inbox_above(slot->top.incarnation, slot->top.seq, &passed)) /* their rows went with it */
        slot->top = (sb_inbox_top_t){.seq = 0};
}

void sb_slot_forget(sb_entry_t *entry)
{
    sb_slot_t *slot = entry->slot;
    sb_sub_t *sub = slot->sub;
    sb_fetched_drop(entry->fetched);
    entry->fetched = NULL;
    (void)pthread_mutex_lock(&sub->lock);
    sub->waiting--;
    sub->waiting_bytes -= (int64_t)entry->bytes;
    unref(slot); /* which frees the entry, now or with the last one */
    (void)pthread_mutex_unlock(&sub->lock);
}

void sb_slot_gone(sb_slot_t *slot)
{
    (void)pthread_mutex_lock(&slot->sub->lock);
    slot->sub->stats.fenced += !atomic_exchange(&slot->gone, true);
    (void)pthread_mutex_unlock(&slot->sub->lock);
}
