/* One transaction of a lane: partitions held by their epochs, inbox rows of what no position covers, the
 * handler's own writes, dead letters, and the positions, all or nothing.
 *
 * An event is covered when the position that is saved in this transaction passes it; others (of another
 * lane's unfinished predecessors, of topics without positions) have a row in the inbox instead. Either tells
 * a repeat later, also after a commit whose answer was lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

#define SAVE_EVERY_US 200000 /* positions of several lanes: they would wait for each other */
#define HELD_KEY_MAX  1000   /* bytes: longer keys have no place in an index, and are not held back */
#define COPY_MS       20000

struct sb_sub_batch_room {
    sb_slot_t **slots;
    bool *saving;
    sb_inbox_part_t *parts;
    sb_inbox_item_t *items;
    sb_inbox_key_t *keys;
    sb_inbox_save_t *saves;
    int *slot_of, *item_of, *key_of; /* of an entry; -1: none */
    size_t slot_count, save_count;
    sb_inbox_batch_t inbox;
};

struct sb_sub_batch_room *sb_sub_batch_room_new(size_t batch_max)
{
    struct sb_sub_batch_room *room = calloc(1, sizeof *room);
    if (!room)
        return NULL;
    room->slots = calloc(batch_max, sizeof(sb_slot_t *));
    room->saving = calloc(batch_max, sizeof(bool));
    room->parts = calloc(batch_max, sizeof(sb_inbox_part_t));
    room->items = calloc(batch_max, sizeof(sb_inbox_item_t));
    room->keys = calloc(batch_max, sizeof(sb_inbox_key_t));
    room->saves = calloc(batch_max, sizeof(sb_inbox_save_t));
    room->slot_of = calloc(batch_max, sizeof(int));
    room->item_of = calloc(batch_max, sizeof(int));
    room->key_of = calloc(batch_max, sizeof(int));
    if (room->slots && room->saving && room->parts && room->items && room->keys && room->saves &&
        room->slot_of && room->item_of && room->key_of)
        return room;
    sb_sub_batch_room_free(room);
    return NULL;
}

void sb_sub_batch_room_free(struct sb_sub_batch_room *room)
{
    if (!room)
        return;
    free(room->slots);
    free(room->saving);
    free(room->parts);
    free(room->items);
    free(room->keys);
    free(room->saves);
    free(room->slot_of);
    free(room->item_of);
    free(room->key_of);
    free(room);
}

/* ---- what goes into it ---- */

static int compare_marks(const sb_inbox_mark_t *a, const sb_inbox_mark_t *b)
{
    if (a->incarnation != b->incarnation)
        return a->incarnation < b->incarnation ? -1 : 1;
    if (a->seq != b->seq)
        return a->seq < b->seq ? -1 : 1;
    return (a->next_offset > b->next_offset) - (a->next_offset < b->next_offset);
}

static int slot_index(struct sb_sub_batch_room *room, sb_slot_t *slot)
{
    for (size_t i = room->slot_count; i-- > 0;)
        if (room->slots[i] == slot)
            return (int)i;
    room->slots[room->slot_count] = slot;
    room->parts[room->slot_count] =
        (sb_inbox_part_t){.topic = slot->topic, .partition = slot->partition, .epoch = slot->epoch};
    return (int)room->slot_count++;
}

/* Lock: held. Decides which positions this transaction saves, and where they will stand. */
static void plan_saves(const sb_lane_t *lane, struct sb_sub_batch_room *room)
{
    int64_t now_us = sb_mono_us();
    bool every_time = lane->sub->config.lanes == 1;
    room->save_count = 0;
    for (size_t i = 0; i < room->slot_count; i++) {
        sb_slot_t *slot = room->slots[i];
        room->saving[i] = !slot->saving && (every_time || now_us - slot->saved_us >= SAVE_EVERY_US);
        if (!room->saving[i])
            continue;
        slot->saving = true;
        room->saves[room->save_count++] = (sb_inbox_save_t){.topic = slot->topic,
                                                            .partition = slot->partition,
                                                            .epoch = slot->epoch,
                                                            .mark = sb_slot_would_be(slot, lane),
                                                            .pass = slot->top.seq > 0};
    }
}

static const sb_inbox_mark_t *saved_mark(const struct sb_sub_batch_room *room, int slot)
{
    size_t at = 0;
    if (!room->saving[slot])
        return NULL;
    for (int i = 0; i < slot; i++)
        at += room->saving[i];
    return &room->saves[at].mark;
}

/* Lock: held. */
static void plan_item(struct sb_sub_batch_room *room, sb_entry_t *entry, size_t index)
{
    sb_slot_t *slot = entry->slot;
    const sb_inbox_mark_t *mark = saved_mark(room, room->slot_of[index]);
    sb_inbox_top_t own = {.seq = 0};
    if (entry->has_position)
        own = (sb_inbox_top_t){entry->mark.incarnation, entry->mark.seq};
    bool is_top = entry->has_position && sb_inbox_above(own.incarnation, own.seq, &slot->top);
    entry->covered = mark && compare_marks(&entry->mark, mark) <= 0;
    room->item_of[index] = -1;
    if (is_top && entry->covered)
        return;
    if (is_top)
        slot->top = own;
    room->item_of[index] = (int)room->inbox.item_count;
    room->items[room->inbox.item_count++] = (sb_inbox_item_t){.source = entry->fetched->event.source,
                                                              .id = entry->fetched->info.id,
                                                              .topic = slot->topic,
                                                              .partition = slot->partition,
                                                              .incarnation = own.incarnation,
                                                              .seq = own.seq};
}

static bool has_key(const sb_lane_t *lane, const sb_entry_t *entry)
{
    const sb_slice_t *key = &entry->fetched->message.key;
    return lane->sub->config.order == SB_ORDER_KEY && key->ptr && key->len <= HELD_KEY_MAX;
}

static void plan_key(const sb_lane_t *lane, struct sb_sub_batch_room *room, const sb_entry_t *entry,
                     size_t index)
{
    room->key_of[index] = -1;
    if (!atomic_load(&lane->sub->holds_keys) || !has_key(lane, entry))
        return;
    room->key_of[index] = (int)room->inbox.key_count;
    room->keys[room->inbox.key_count++] =
        (sb_inbox_key_t){.topic = entry->slot->topic, .key = entry->fetched->message.key};
}

static void plan(sb_lane_t *lane, sb_entry_t **entries, size_t count)
{
    struct sb_sub_batch_room *room = lane->room;
    room->slot_count = 0;
    for (size_t i = 0; i < count; i++)
        room->slot_of[i] = slot_index(room, entries[i]->slot);
    room->inbox = (sb_inbox_batch_t){
        .parts = room->parts, .part_count = room->slot_count, .items = room->items, .keys = room->keys};
    (void)pthread_mutex_lock(&lane->sub->lock);
    plan_saves(lane, room);
    for (size_t i = 0; i < count; i++) {
        plan_item(room, entries[i], i);
        plan_key(lane, room, entries[i], i);
    }
    (void)pthread_mutex_unlock(&lane->sub->lock);
}

/* What the answers say about the entries. False: a partition is not ours any more. */
static bool judge(sb_lane_t *lane, sb_entry_t **entries, size_t count)
{
    struct sb_sub_batch_room *room = lane->room;
    bool ours = true;
    for (size_t i = 0; i < room->slot_count; i++) {
        ours = ours && room->parts[i].held;
        if (!room->parts[i].held)
            sb_slot_gone(room->slots[i]);
    }
    for (size_t i = 0; i < count; i++) {
        sb_entry_t *entry = entries[i];
        const sb_inbox_mark_t *stored = &room->parts[room->slot_of[i]].stored;
        if (entry->has_position)
            entry->repeat =
                entry->mark.incarnation < stored->incarnation ||
                (entry->mark.incarnation == stored->incarnation && entry->mark.seq <= stored->seq);
        else
            entry->repeat = entry->mark.next_offset <= stored->next_offset;
        if (room->item_of[i] >= 0)
            entry->repeat = entry->repeat || !room->items[room->item_of[i]].is_new;
        entry->blocked = room->key_of[i] >= 0 && room->keys[room->key_of[i]].held;
    }
    return ours;
}

/* ---- dead letters ---- */

static void on_copy_failed(void *context, uint64_t tag, const sb_error_t *err)
{
    sb_lane_t *lane = context;
    (void)tag;
    lane->copy_failed = true;
    lane->copy_error = *err;
}

static sb_code_t send_copy(sb_lane_t *lane, const sb_dead_record_t *letter, sb_error_t *err)
{
    sb_code_t code;
    while ((code = sb_dead_letter_copy(lane->copies, lane->sub->config.dead_letter_topic, letter, err)) ==
           SB_BUSY)
        sb_producer_poll(lane->copies, 10);
    return code;
}

/* The headers say where the record is. */
static sb_code_t send_bare_copy(sb_lane_t *lane, const sb_dead_record_t *letter, sb_error_t *err)
{
    sb_message_t record = *letter->record;
    sb_dead_record_t bare = *letter;
    record.value = SB_SLICE("");
    bare.record = &record;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-COPY",
           "a dead letter is too large to be copied: its copy has no value|subscription=%s topic=%s "
           "partition=%d offset=%lld bytes=%zu",
           letter->subscription, record.topic, (int)record.partition, (long long)record.offset,
           letter->record->value.len);
    return send_copy(lane, &bare, err);
}

static sb_code_t copy_letter(sb_lane_t *lane, const sb_dead_record_t *letter, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    if (!lane->sub->config.dead_letter_topic)
        return SB_OK;
    if (!lane->copies) {
        sb_code_t opened =
            sb_producer_open(&lane->copies, lane->sub->subscriber->config, NULL, on_copy_failed, lane, err);
        if (opened != SB_OK)
            return opened;
    }
    sb_code_t code = lane->copies_bare ? SB_TOO_LARGE : send_copy(lane, letter, &why);
    if (code == SB_TOO_LARGE)
        return send_bare_copy(lane, letter, err);
    if (code != SB_OK && err)
        *err = why;
    return code;
}

/* Waits until the copies are there. */
static sb_code_t copies_out(sb_lane_t *lane, sb_error_t *err)
{
    if (!lane->copies)
        return SB_OK;
    sb_code_t code = sb_producer_flush(lane->copies, COPY_MS, err);
    bool failed = lane->copy_failed; /* also what was reported while the queue was full */
    lane->copy_failed = false;
    lane->copies_bare = failed && lane->copy_error.code == SB_TOO_LARGE;
    if (code == SB_OK && failed)
        return sb_fail(err, SB_UNAVAILABLE, "copy of a dead letter: %s", lane->copy_error.message);
    return code;
}

static sb_code_t bury(sb_lane_t *lane, const sb_entry_t *entry, sb_error_t *err)
{
    const sb_fetched_t *fetched = entry->fetched;
    const char *reason = entry->dead ? entry->dead : fetched->fault ? "undecodable" : "blocked";
    bool is_blocked = !entry->dead && !fetched->fault;
    sb_dead_record_t letter = {.subscription = lane->sub->config.name,
                               .group = lane->sub->subscriber->group,
                               .record = &fetched->message,
                               .incarnation = entry->has_position ? entry->mark.incarnation : 0,
                               .seq = entry->has_position ? entry->mark.seq : 0,
                               .reason = reason,
                               .error = entry->error     ? entry->error
                                        : fetched->fault ? fetched->fault
                                                         : "an event of its key before it is a dead letter",
                               .attempts = entry->attempts,
                               .first_failed_us = entry->first_failed_us,
                               .held = !fetched->fault && has_key(lane, entry),
                               .due_us = is_blocked ? 0 : entry->dead_due_us};
    if (!fetched->fault) {
        letter.id = fetched->info.id;
        letter.source = fetched->event.source;
        letter.type = fetched->event.type;
    }
    sb_log(is_blocked ? SB_LOG_DEBUG : SB_LOG_WARN, "SUBSCRIBER-DEAD",
           "%s|subscription=%s reason=%s topic=%s partition=%d offset=%lld seq=%lld attempts=%d",
           letter.error, letter.subscription, reason, fetched->message.topic, (int)fetched->message.partition,
           (long long)fetched->message.offset, (long long)letter.seq, letter.attempts);
    if (letter.held)
        atomic_store(&lane->sub->holds_keys, true);
    sb_code_t code = lane->pg ? sb_dead_letter_add(lane->pg, &letter, err) : SB_OK;
    return code == SB_OK ? copy_letter(lane, &letter, err) : code;
}

/* ---- the handler ---- */

sb_code_t sb_sub_batch_call(sb_lane_t *lane, const sb_delivery_t *deliveries, size_t count, sb_error_t *err)
{
    const sb_subscription_t *config = &lane->sub->config;
    int64_t from_us = sb_mono_us();
    atomic_store(&lane->busy_since_us, from_us);
    sb_sub_append_enter(lane);
    sb_code_t code =
        config->on_events(config->context, lane->pg ? sb_pg_raw(lane->pg) : NULL, deliveries, count, err);
    sb_sub_append_leave();
    atomic_store(&lane->busy_since_us, 0);
    lane->call_us = sb_mono_us() - from_us;
    if (code != SB_OK) {
        if (err && !err->message[0]) /* the handler said nothing else */
            (void)sb_fail(err, code, "%s", sb_code_text(code));
        return code;
    }
    if (lane->pg && sb_pg_is_open(lane->pg) && sb_pg_is_aborted(lane->pg))
        return sb_fail(err, SB_INTERNAL, "a statement of the handler failed, and it said nothing of it");
    return SB_OK;
}

sb_code_t sb_sub_batch_upcast(sb_lane_t *lane, sb_delivery_t *delivery, bool *changed, sb_error_t *err)
{
    const sb_upcast_chain_t *chain = NULL;
    const sb_catalog_t *catalog = lane->sub->subscriber->catalog;
    *changed = false;
    if (!catalog || delivery->event.schema_version == 0 ||
        !sb_catalog_chain(catalog, delivery->event.type, delivery->event.schema_version, &chain) || !chain)
        return SB_OK;
    sb_code_t code = lane->upcaster ? SB_OK : sb_upcaster_new(&lane->upcaster, err);
    if (code == SB_OK)
        code = sb_upcaster_run(lane->upcaster, chain, &delivery->event, err);
    *changed = code == SB_OK;
    return code;
}

/* The delivery of an entry. One that cannot be brought to the newest version is given up: no try will mend
 * it. */
static sb_code_t deliver(sb_lane_t *lane, sb_entry_t *entry, sb_delivery_t *out, sb_error_t *err)
{
    bool changed = false;
    sb_error_t why = SB_ERROR_INIT;
    sb_fetched_delivery(entry->fetched, out);
    out->attempt = entry->attempts + 1;
    sb_code_t code = sb_sub_batch_upcast(lane, out, &changed, &why);
    if (code != SB_OK && code != SB_NO_MEMORY) {
        entry->dead = "rejected";
        free(entry->error);
        entry->error = strdup(why.message);
        return SB_OK;
    }
    if (code == SB_OK && changed) {
        free(entry->body);
        entry->body = malloc(out->event.data.len + 1);
        if (!entry->body)
            return sb_fail(err, SB_NO_MEMORY, "an event's body: out of memory");
        memcpy(entry->body, out->event.data.ptr, out->event.data.len);
        out->event.data.ptr = entry->body;
    }
    return code == SB_OK ? SB_OK : sb_fail(err, code, "%s", why.message);
}

/* What comes behind a key that is held back from now on, in the same batch. */
static void block_followers(const sb_lane_t *lane, sb_entry_t **entries, size_t at, size_t count)
{
    const sb_message_t *dead = &entries[at]->fetched->message;
    for (size_t i = at + 1; has_key(lane, entries[at]) && i < count; i++) {
        const sb_message_t *message = &entries[i]->fetched->message;
        if (message->key.ptr && sb_slice_equal(message->key, dead->key) &&
            strcmp(message->topic, dead->topic) == 0)
            entries[i]->blocked = true;
    }
}

/* Hands over what is to be handled and buries what is not, in order. */
static sb_code_t handle(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool *handler, sb_error_t *err)
{
    size_t n = 0;
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        sb_entry_t *entry = entries[i];
        if (entry->repeat)
            continue;
        if (!entry->dead && !entry->fetched->fault && !entry->blocked)
            code = deliver(lane, entry, &lane->deliveries[n], err);
        if (code != SB_OK)
            break;
        if (entry->dead && !entry->fetched->fault)
            block_followers(lane, entries, i, count);
        if (entry->dead || entry->fetched->fault || entry->blocked)
            code = bury(lane, entry, err);
        else
            n++;
    }
    if (code != SB_OK || n == 0)
        return code;
    code = sb_sub_batch_call(lane, lane->deliveries, n, err);
    *handler = code != SB_OK && code != SB_STOPPED && !(lane->pg && !sb_pg_is_open(lane->pg));
    return code;
}

/* ---- the transaction ---- */

static void count_batch(sb_lane_t *lane, sb_entry_t **entries, size_t count)
{
    sb_subscription_stats_t *stats = &lane->sub->stats;
    for (size_t i = 0; i < count; i++) {
        const sb_entry_t *entry = entries[i];
        if (entry->repeat)
            stats->repeats++;
        else if (entry->dead || entry->fetched->fault || entry->blocked)
            stats->dead_letters++;
        else
            stats->handled++;
    }
}

/* Lock: taken. */
static void settle(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool committed)
{
    struct sb_sub_batch_room *room = lane->room;
    size_t at = 0;
    (void)pthread_mutex_lock(&lane->sub->lock);
    for (size_t i = 0; i < room->slot_count; i++) {
        sb_slot_t *slot = room->slots[i];
        if (!room->saving[i])
            continue;
        const sb_inbox_mark_t *mark = &room->saves[at++].mark;
        slot->saving = false;
        if (!committed)
            continue;
        sb_slot_saved(slot, mark);
    }
    if (committed)
        count_batch(lane, entries, count);
    (void)pthread_mutex_unlock(&lane->sub->lock);
}

static sb_code_t transact(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool *handler, sb_error_t *err)
{
    lane->call_us = 0;
    const char *name = lane->sub->config.name;
    sb_code_t code = sb_inbox_begin(lane->pg, name, &lane->room->inbox, err);
    if (code != SB_OK)
        return code;
    if (!judge(lane, entries, count))
        return sb_fail(err, SB_FENCED, "%s: a newer member has a partition", name);
    code = handle(lane, entries, count, handler, err);
    if (code == SB_OK)
        code = copies_out(lane, err);
    if (code != SB_OK)
        return code;
    code = sb_inbox_commit(lane->pg, name, lane->room->saves, lane->room->save_count, err);
    if (code == SB_OK || lane->call_us < (int64_t)lane->sub->config.stuck_after_ms * 1000)
        return code;
    *handler = true; /* the server ends transactions in which nothing happens for so long */
    return sb_context(err, code, "the handler took %lld ms", (long long)(lane->call_us / 1000));
}

static sb_code_t without_database(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool *handler,
                                  sb_error_t *err)
{
    for (size_t i = 0; i < count; i++)
        entries[i]->repeat = entries[i]->blocked = false;
    sb_code_t code = handle(lane, entries, count, handler, err);
    if (code == SB_OK)
        code = copies_out(lane, err);
    if (code != SB_OK)
        return code;
    (void)pthread_mutex_lock(&lane->sub->lock);
    count_batch(lane, entries, count);
    (void)pthread_mutex_unlock(&lane->sub->lock);
    return SB_OK;
}

sb_code_t sb_sub_batch_run(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool *handler,
                           sb_error_t *err)
{
    *handler = false;
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++)
        code = sb_fetched_decode(entries[i]->fetched, err);
    if (code != SB_OK)
        return code;
    if (!lane->sub->subscriber->pg_uri)
        return without_database(lane, entries, count, handler, err);
    code = sb_lane_open_pg(lane, err);
    if (code != SB_OK)
        return code;
    plan(lane, entries, count);
    code = transact(lane, entries, count, handler, err);
    if (code != SB_OK)
        sb_pg_rollback(lane->pg);
    settle(lane, entries, count, code == SB_OK);
    return code;
}
