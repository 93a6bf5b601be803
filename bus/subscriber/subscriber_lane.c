/* A lane's thread: it takes what was dealt out to it, leaves aside the keys that wait for another try, takes
 * the rest through transactions, and decides what becomes of an event that fails.
 *
 * An outage (of the database, of the brokers a copy goes to) is nobody's failure: the batch waits and is
 * tried again without end, unless its partitions go.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus_sql.h"

#include <stdlib.h>

#define IDLE_MS       1000
#define UPKEEP_US     1000000
#define PURGE_US      600000000
#define REDRIVES_MAX  20      /* a turn */
#define PAUSE_MAX_US  5000000 /* then it looks what else is due: the budget keeps the rate */
#define ENTRIES_TAKEN 16      /* lists a turn */
#define FULL_WAIT_MS  1000

static const sb_retry_policy_t outage_policy = {
    .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 50, .delay_max_ms = 2000, .jitter = true};

static bool stopping(const sb_lane_t *lane)
{
    return atomic_load(&lane->sub->subscriber->lanes_stop);
}

sb_code_t sb_lane_open_pg(sb_lane_t *lane, sb_error_t *err)
{
    const sb_subscriber_t *s = lane->sub->subscriber;
    if (lane->pg)
        return sb_pg_is_open(lane->pg) ? SB_OK : sb_pg_reopen(lane->pg, err);
    sb_pg_config_t config = {.uri = s->pg_uri,
                             .application_name = s->owner,
                             .search_path = s->schema,
                             .idle_in_transaction_ms = lane->sub->config.stuck_after_ms};
    return sb_pg_open(&lane->pg, &config, err);
}

/* ---- lists ---- */

static void put_last(sb_entry_t **first, sb_entry_t **last, sb_entry_t *entry)
{
    entry->next = NULL;
    if (*first)
        (*last)->next = entry;
    else
        *first = entry;
    *last = entry;
}

static void take_new(sb_lane_t *lane)
{
    void *lists[ENTRIES_TAKEN];
    size_t n = sb_queue_pop_many(lane->queue, lists, ENTRIES_TAKEN);
    for (size_t i = 0; i < n; i++) {
        sb_entry_t *list = lists[i];
        if (lane->first)
            lane->last->next = list;
        else
            lane->first = list;
        while (list->next)
            list = list->next;
        lane->last = list;
    }
}

static void forget_list(sb_entry_t *first)
{
    while (first) {
        sb_entry_t *entry = first;
        first = entry->next;
        sb_slot_forget(entry);
    }
}

static void forget_all(sb_lane_t *lane)
{
    do {
        forget_list(lane->first);
        lane->first = lane->last = NULL;
        take_new(lane);
    } while (lane->first);
    for (size_t i = 0; i < lane->waiting_count; i++)
        forget_list(lane->waiting[i].first);
    lane->waiting_count = 0;
}

/* ---- keys that wait ---- */

static bool waits_behind(const sb_lane_t *lane, const sb_entry_t *entry, const sb_entry_t *first)
{
    if (lane->sub->config.order == SB_ORDER_NONE)
        return false;
    if (lane->sub->config.order == SB_ORDER_PARTITION)
        return entry->slot == first->slot;
    const sb_message_t *a = &entry->fetched->message;
    const sb_message_t *b = &first->fetched->message;
    return a->key.ptr && b->key.ptr && sb_slice_equal(a->key, b->key) && strcmp(a->topic, b->topic) == 0;
}

/* Puts it behind the key it must wait for; false when it need not. */
static bool put_behind(sb_lane_t *lane, sb_entry_t *entry)
{
    for (size_t i = 0; i < lane->waiting_count; i++) {
        sb_waiting_key_t *key = &lane->waiting[i];
        if (!waits_behind(lane, entry, key->first))
            continue;
        put_last(&key->first, &key->last, entry);
        return true;
    }
    return false;
}

/* Takes a key that is due off the list: its first event, the others go before what is taken and not begun. */
static sb_entry_t *take_due(sb_lane_t *lane)
{
    int64_t now_us = sb_mono_us();
    for (size_t i = 0; i < lane->waiting_count; i++) {
        sb_waiting_key_t key = lane->waiting[i];
        if (key.due_us > now_us && !atomic_load(&key.first->slot->gone))
            continue;
        lane->waiting[i] = lane->waiting[--lane->waiting_count];
        if (key.first->next) {
            key.last->next = lane->first;
            if (!lane->first)
                lane->last = key.last;
            lane->first = key.first->next;
        }
        key.first->next = NULL;
        return key.first;
    }
    return NULL;
}

static int64_t next_due_us(const sb_lane_t *lane)
{
    int64_t due_us = INT64_MAX;
    for (size_t i = 0; i < lane->waiting_count; i++)
        if (lane->waiting[i].due_us < due_us)
            due_us = lane->waiting[i].due_us;
    return due_us;
}

static uint64_t random_bits(void)
{
    sb_uuid_t id = sb_uuid_v7();
    uint64_t bits;
    memcpy(&bits, id.byte + 8, sizeof bits);
    return bits * 0x9e3779b97f4a7c15u;
}

/* ---- one that failed ---- */

static void set_stopped(const sb_entry_t *entry, bool stopped)
{
    sb_sub_t *sub = entry->slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    if (entry->slot->stopped != stopped)
        sub->stats.stopped += stopped ? 1 : -1;
    entry->slot->stopped = stopped;
    (void)pthread_mutex_unlock(&sub->lock);
}

/* It waits for nothing any more. */
static void go_on(const sb_entry_t *entry)
{
    if (entry->slot->sub->config.order == SB_ORDER_PARTITION)
        set_stopped(entry, false);
}

static void try_later(sb_lane_t *lane, sb_entry_t *entry, uint32_t delay_ms)
{
    lane->waiting[lane->waiting_count++] =
        (sb_waiting_key_t){entry, entry, sb_mono_us() + (int64_t)delay_ms * 1000};
    entry->next = NULL;
}

static void note_failure(sb_entry_t *entry, const sb_error_t *why)
{
    entry->attempts++;
    if (!entry->first_failed_us)
        entry->first_failed_us = sb_wall_us();
    free(entry->error);
    entry->error = strdup(why->message);
}

static void count_failure(sb_sub_t *sub)
{
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.failures++;
    (void)pthread_mutex_unlock(&sub->lock);
}

static void alarm_partition(sb_entry_t *entry, const sb_error_t *why)
{
    sb_log_error(
        SB_LOG_ERROR, "SUBSCRIBER-STOPPED", why,
        "a partition waits for an event that fails|subscription=%s topic=%s partition=%d offset=%lld",
        entry->slot->sub->config.name, entry->slot->topic, (int)entry->slot->partition,
        (long long)entry->fetched->message.offset);
    set_stopped(entry, true);
}

/* Decides: tried again (true: it waits; false: at once), or given up (entry->dead is set). */
static bool judge_failure(sb_lane_t *lane, sb_entry_t *entry, sb_code_t code, const sb_error_t *why)
{
    const sb_subscription_t *config = &lane->sub->config;
    bool database = lane->sub->subscriber->pg_uri != NULL;
    bool rejected = code == SB_INVALID;
    bool last = rejected || !sb_retry_allowed(&lane->sub->retry, (uint32_t)entry->attempts);
    uint32_t delay_ms = sb_retry_delay_ms(&lane->sub->retry, (uint32_t)entry->attempts, random_bits());
    sb_log_error(SB_LOG_INFO, "SUBSCRIBER-RETRY", why,
                 "an event failed|subscription=%s topic=%s partition=%d offset=%lld attempt=%d last=%d",
                 config->name, entry->slot->topic, (int)entry->slot->partition,
                 (long long)entry->fetched->message.offset, entry->attempts, (int)last);
    if (config->order == SB_ORDER_PARTITION && last) {
        alarm_partition(entry, why);
        delay_ms = lane->sub->retry.delay_max_ms;
    } else if (config->order == SB_ORDER_NONE && database) {
        entry->dead = rejected ? "rejected" : "failed";
        entry->dead_due_us = last ? 0 : sb_wall_us() + (int64_t)delay_ms * 1000;
        return false;
    } else if (last) {
        entry->dead = rejected ? "rejected" : "failed";
        return false;
    }
    if (lane->waiting_count == SB_WAITING_KEYS) { /* all of its keys wait: now the lane does */
        sb_sleep_ms(delay_ms < FULL_WAIT_MS ? delay_ms : FULL_WAIT_MS);
        return false;
    }
    try_later(lane, entry, delay_ms);
    return true;
}

/* ---- through a transaction ---- */

static void wait_out(sb_lane_t *lane, const sb_error_t *why)
{
    uint32_t delay_ms = sb_retry_delay_ms(&outage_policy, ++lane->outages, random_bits());
    sb_log_error(lane->outages > 3 ? SB_LOG_WARN : SB_LOG_INFO, "SUBSCRIBER-OUTAGE", why,
                 "a batch waits|subscription=%s lane=%d wait_ms=%u", lane->sub->config.name, lane->number,
                 delay_ms);
    sb_sleep_ms(delay_ms);
}

/* Those that may go in now, moved to the front; the others wait behind their key or are forgotten. */
static size_t enter(sb_lane_t *lane, sb_entry_t **entries, size_t count)
{
    size_t n = 0;
    bool stop = stopping(lane);
    if (!stop)
        sb_slot_enter(lane, entries, count);
    for (size_t i = 0; i < count; i++) {
        sb_entry_t *entry = entries[i];
        if (stop || !entry->holder) {
            go_on(entry);
            sb_slot_forget(entry);
        } else if (lane->waiting_count > 0 && put_behind(lane, entry)) {
            sb_slot_leave(lane->sub, &entry, 1);
        } else {
            entries[n++] = entry;
        }
    }
    return n;
}

/* Takes entries through, in halves where they fail together. When it returns each of them is done, waits
 * behind its key, or is forgotten. */
static void take_through(sb_lane_t *lane, sb_entry_t **entries, size_t count)
{
    for (;;) {
        sb_error_t err = SB_ERROR_INIT;
        bool handler = false;
        count = enter(lane, entries, count);
        if (count == 0)
            return;
        sb_code_t code = sb_sub_batch_run(lane, entries, count, &handler, &err);
        if (code == SB_OK) {
            lane->outages = 0;
            go_on(entries[0]);
            sb_slot_done(lane->sub, entries, count);
            return;
        }
        sb_slot_leave(lane->sub, entries, count);
        if (handler)
            count_failure(lane->sub);
        if (handler && count > 1) {
            take_through(lane, entries, count / 2);
            take_through(lane, entries + count / 2, count - count / 2);
            return;
        }
        if (handler) {
            note_failure(entries[0], &err);
            if (judge_failure(lane, entries[0], code, &err))
                return;
        } else if (code != SB_FENCED) {
            wait_out(lane, &err);
        }
    }
}

/* ---- upkeep ---- */

static void purge(sb_lane_t *lane)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = sb_inbox_purge(lane->pg, &err);
    if (code == SB_OK)
        code = sb_pg_query(lane->pg, sb_sql_sub_dead_purge, NULL, NULL, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-PURGE", &err, "old rows stay for now");
}

/* The first lane also hands dead letters over again and cleans up. */
static void upkeep(sb_lane_t *lane)
{
    int64_t now_us = sb_mono_us();
    sb_error_t err = SB_ERROR_INIT;
    int64_t pause_us = 0;
    bool found = true;
    if (lane->number != 0 || !lane->sub->subscriber->pg_uri || now_us < lane->upkeep_us)
        return;
    lane->upkeep_us = now_us + UPKEEP_US;
    sb_code_t code = sb_lane_open_pg(lane, &err);
    for (int i = 0; code == SB_OK && found && pause_us == 0 && i < REDRIVES_MAX && !stopping(lane); i++)
        code = sb_redrive(lane, &found, &pause_us, &err);
    if (code != SB_OK) {
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-REDRIVE", &err, "dead letters wait|subscription=%s",
                     lane->sub->config.name);
        return;
    }
    if (found)
        lane->upkeep_us = sb_mono_us() + (pause_us < PAUSE_MAX_US ? pause_us : PAUSE_MAX_US);
    if (now_us < lane->purge_us)
        return;
    lane->purge_us = now_us + PURGE_US;
    purge(lane);
}

static void wait_for_more(sb_lane_t *lane)
{
    int64_t wait_ms = IDLE_MS;
    int64_t due_us = next_due_us(lane);
    if (lane->number == 0 && lane->upkeep_us > 0 && lane->upkeep_us < due_us)
        due_us = lane->upkeep_us;
    if (due_us != INT64_MAX) {
        int64_t left_ms = (due_us - sb_mono_us()) / 1000 + 1;
        wait_ms = left_ms < 0 ? 0 : left_ms < wait_ms ? left_ms : wait_ms;
    }
    (void)sb_signal_wait(&lane->signal, wait_ms);
}

static size_t pick(sb_lane_t *lane)
{
    size_t n = 0;
    while (lane->first && n < lane->sub->config.batch_max) {
        sb_entry_t *entry = lane->first;
        lane->first = entry->next;
        if (!lane->first)
            lane->last = NULL;
        entry->next = NULL;
        lane->batch[n++] = entry;
    }
    return n;
}

void *sb_lane_run(void *context)
{
    sb_lane_t *lane = context;
    while (!stopping(lane)) {
        upkeep(lane);
        sb_entry_t *due = take_due(lane);
        if (due) {
            take_through(lane, &due, 1);
            continue;
        }
        take_new(lane);
        size_t n = pick(lane);
        if (n > 0)
            take_through(lane, lane->batch, n);
        else
            wait_for_more(lane);
    }
    forget_all(lane);
    return NULL;
}
