/* The thread in run: fetches, and has each record dealt out to the subscriptions it is for. It never waits
 * for a handler: a subscription without room falls behind, and the fetch comes back for it (a seek to where
 * it stands, the others drop what they know); when none has room, nothing is fetched, and after some seconds
 * the partitions are paused so that polling can go on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"

#define POLL_MS        100
#define FULL_WAIT_MS   3
#define HOLD_AFTER_US  3000000
#define PATIENCE_US    50000
#define LOOK_US        1000000
#define BYTES_MAX      (64 * 1024 * 1024) /* of records a subscription holds */
#define AGAIN_MS       250
#define STORE_AGAIN_US 1000000
#define CLOSE_MS       5000
#define CATALOG_US     10000000

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
    int64_t wanted = SB_OFFSET_NOWHERE;
    bool any_behind = false;
    sb_error_t err = SB_ERROR_INIT;
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next) {
        any_behind = any_behind || slot->behind;
        if (!slot->sub->full && !is_elsewhere(slot) && slot->at.next_offset < wanted)
            wanted = slot->at.next_offset;
    }
    if (!any_behind || wanted == SB_OFFSET_NOWHERE)
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
            sb_deal_hand_out_one(slot->sub);
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
    sb_parts_upkeep(s);
    refresh_catalog(s, now_us);
}

/* ---- the loop ---- */

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
    return code == SB_OK && record ? sb_deal_record(s, record, err) : code;
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
        code = sb_deal_record(s, record, err);
        if (sb_consumer_has_rebalance(s->consumer))
            break;
    }
    return code;
}

static sb_code_t one_round(sb_subscriber_t *s, sb_error_t *err)
{
    sb_fetched_reap(s);
    look(s);
    sb_parts_begin_again(s);
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
    sb_deal_hand_out(s);
    return code;
}

static bool is_final(sb_code_t code)
{
    return code != SB_UNAVAILABLE && code != SB_TIMEOUT && code != SB_NO_MEMORY && code != SB_BUSY &&
           code != SB_UNKNOWN_OUTCOME && code != SB_NOT_FOUND && code != SB_CONFLICT;
}

sb_code_t sb_subscriber_fetch(sb_subscriber_t *s, sb_error_t *err)
{
    const sb_consumer_hooks_t hooks = {sb_parts_on_assigned, sb_parts_on_revoked, s, s->instance_id};
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
    sb_parts_end(s);
    sb_store_close(&s->store);
    sb_catalog_free(&s->catalog);
    sb_pg_close(&s->store_pg);
    sb_pg_close(&s->pg);
}
