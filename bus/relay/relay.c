/* The loop: read a page of events below the safe sequence number, hand it to librdkafka, move the cursor over
 * what Kafka has acknowledged. What is under way and how it fails is relay_out.c's, what must outlive an
 * owner relay_marks.c's.
 *
 * A database that was restored to an earlier time gives its sequence numbers out again, and consumers would
 * drop the new events as repeats. So a new owner first reads the last record of every partition: when the
 * store has another event at that place, or none and has not detached it, the relay stands still, and that is
 * kept in its lease row until the store's incarnation rises. The store may be far past that place by then: a
 * sequence that comes back from the log has jumped over up to 32 numbers, and over those that were lost.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay.h"

#include "base/clock.h"
#include "base/lease.h"
#include "base/log.h"
#include "base/retry.h"
#include "bus/relay/relay_out.h"
#include "bus/relay/relay_page.h"
#include "bus/relay/relay_rebuild.h"
#include "bus/relay/relay_tail.h"
#include "bus_sql.h"
#include "events/saga_types.h"
#include "events/store/store.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLE           "relay"
#define SAVE_EVERY_US  100000  /* the cursor: what a crash sends again */
#define BEAT_EVERY_US  2000000 /* and at least so often, which renews the beat */
#define FAST_POLL_US   10000   /* of the safe sequence number, while another process moves it */
#define SLOW_POLL_US   50000   /* while nothing comes */
#define BACKUP_POLL_US 500000  /* while our own sequencer tells us */
#define QUIET_US       2000000
#define SILENT_US      5000000 /* Kafka acknowledges nothing for so long: say so */
#define TAIL_MS        10000
#define DRAIN_MS       3000
#define FEW_EVENTS     256     /* so many wait for Kafka's word on those before them */
#define FEW_WAIT_US    1000000 /* not longer than this for the lowest: its partition may lack a leader */
#define STANDBY_MS     500
#define GATHER_US      40000 /* between two pages, while so many come within it: */
#define GATHER_EVENTS  320
#define GATHER_MAX     1024 /* no more are waited for */

static const sb_retry_policy_t again = {SB_RETRY_EXPONENTIAL, 0, 100, 5000, true};

struct sb_relay {
    sb_relay_config_t config;
    int64_t overdue_ms;
    sb_signal_t signal;
    atomic_bool stopping;
    sb_pg_t *pg;
    uint32_t attempt; /* failures since the last success */

    /* Of the owner of the lease. */
    sb_lease_t lease;
    sb_relay_marks_t marks;
    sb_relay_out_t *out;
    sb_relay_page_t page;
    int64_t incarnation;
    int64_t read_to;    /* handed to out, or not to be sent */
    int64_t saved;      /* the cursor in PostgreSQL */
    int64_t saved_us;   /* when */
    int64_t retry_us;   /* nothing is sent before */
    int64_t page_us;    /* when the last page was read */
    bool many;          /* it was of many events: the next one gathers some */
    int64_t rebuild_no; /* a topic is to be filled again; 0: none */
    bool checked;       /* Kafka does not know more than the store */

    /* The safe sequence number. */
    int64_t safe;
    int64_t asked_us; /* when PostgreSQL was asked */
    int64_t moved_us; /* when it last rose */
    bool others_move; /* it rises without our process telling us */

    /* Whether Kafka answers. */
    int64_t acked_seen;
    int64_t acked_us;
    int64_t lowest; /* under way; 0: none */
    int64_t lowest_us;

    pthread_mutex_t stats_lock;
    sb_relay_stats_t stats; /* under stats_lock */
    int64_t sent_before;    /* of closed outs */
    int64_t withheld_before;
};

/* ---- what others see ---- */

static void say(sb_relay_t *relay, const char *error)
{
    (void)pthread_mutex_lock(&relay->stats_lock);
    (void)snprintf(relay->stats.error, sizeof relay->stats.error, "%s", error);
    (void)pthread_mutex_unlock(&relay->stats_lock);
}

static int64_t cursor_of(const sb_relay_t *relay)
{
    int64_t oldest = relay->out ? sb_relay_out_oldest(relay->out) : 0;
    return oldest > 0 ? oldest - 1 : relay->read_to;
}

/* The age of the oldest event that Kafka does not have, as far as it is known here. */
static int64_t oldest_age_ms(const sb_relay_t *relay, int64_t cursor)
{
    int64_t since = relay->out ? sb_relay_out_oldest_time(relay->out) : 0;
    if (since > 0)
        return (sb_wall_us() - since) / 1000;
    return relay->safe > cursor ? (sb_mono_us() - relay->moved_us) / 1000 : 0;
}

static void publish_stats(sb_relay_t *relay)
{
    int64_t cursor = cursor_of(relay);
    int64_t age = oldest_age_ms(relay, cursor);
    (void)pthread_mutex_lock(&relay->stats_lock);
    sb_relay_stats_t *stats = &relay->stats;
    stats->leader = relay->lease.epoch > 0;
    stats->cursor = cursor;
    stats->lag_events = relay->safe > cursor ? relay->safe - cursor : 0;
    stats->oldest_age_ms = age > 0 ? age : 0;
    stats->sent = relay->sent_before + (relay->out ? sb_relay_out_acked(relay->out) : 0);
    stats->withheld = relay->withheld_before + (relay->out ? sb_relay_out_withheld(relay->out) : 0);
    (void)pthread_mutex_unlock(&relay->stats_lock);
    if (relay->config.progress)
        atomic_store(&relay->config.progress->relay_seq, cursor);
}

void sb_relay_stats(const sb_relay_t *relay, sb_relay_stats_t *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&relay->stats_lock;
    (void)pthread_mutex_lock(lock);
    *out = relay->stats;
    (void)pthread_mutex_unlock(lock);
}

/* ---- the cursor ---- */

/* The withheld events that are to be written down, as arrays. */
typedef struct notes {
    sb_pg_array_t seq, id, type, topic, partition, bytes;
} notes_t;

static void fill_notes(notes_t *notes, const sb_relay_out_t *out)
{
    const sb_relay_withheld_t *event;
    for (size_t i = 0; (event = sb_relay_out_to_note(out, i)); i++) {
        sb_pg_array_add_int8(&notes->seq, event->seq);
        sb_pg_array_add_uuid(&notes->id, &event->id);
        sb_pg_array_add_slice(&notes->type, sb_slice(event->type));
        sb_pg_array_add_slice(&notes->topic, sb_slice(event->topic));
        sb_pg_array_add_int4(&notes->partition, event->partition);
        sb_pg_array_add_int8(&notes->bytes, event->bytes);
    }
}

/* With the guard and the count, in one transaction. */
static sb_code_t save_notes(sb_relay_t *relay, sb_pg_batch_t *batch, sb_error_t *err)
{
    notes_t notes;
    sb_pg_array_t *const all[] = {&notes.seq,   &notes.id,        &notes.type,
                                  &notes.topic, &notes.partition, &notes.bytes};
    static const uint32_t types[] = {SB_PG_INT8, SB_PG_UUID, SB_PG_TEXT, SB_PG_TEXT, SB_PG_INT4, SB_PG_INT8};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sb_pg_array_init(all[i], types[i]);
    fill_notes(&notes, relay->out);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sb_pg_add_array(&params, all[i]);
    sb_pg_batch_add(batch, sb_sql_relay_withheld, &params);
    sb_code_t code = sb_pg_batch_run(relay->pg, batch, NULL, NULL, err);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sb_pg_array_fini(all[i]);
    if (code == SB_OK)
        sb_relay_out_noted(relay->out);
    return code;
}

/* The cursor and the count alone. Only this transaction of the relay is lazy: an epoch that is taken, and
 * what was withheld or is being filled again, must survive a crash of PostgreSQL. */
static sb_code_t save_lazily(sb_relay_t *relay, sb_pg_batch_t *batch, sb_error_t *err)
{
    static const sb_pg_params_t none = SB_PG_PARAMS_INIT;
    sb_pg_batch_add(batch, sb_sql_commit_lazily, &none);
    return sb_pg_batch_run(relay->pg, batch, NULL, NULL, err);
}

static sb_code_t save(sb_relay_t *relay, sb_error_t *err)
{
    int64_t cursor = cursor_of(relay);
    sb_pg_params_t guard;
    sb_pg_batch_t batch = {.count = 0};
    sb_tally_write_t counted;
    sb_buf_t detail = SB_BUF_INIT;
    sb_tally_write_init(&counted);
    sb_relay_marks_write(&relay->marks, &detail);
    sb_lease_move_t move = {.cursor = &cursor, .detail = sb_buf_slice(&detail)};
    sb_lease_guard(&relay->lease, &move, &guard);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &guard);
    sb_code_t code = sb_buf_failed(&detail) ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory") : SB_OK;
    if (code == SB_OK)
        code = sb_tally_write_add(&counted, sb_relay_out_tally(relay->out), ROLE, 0, &batch, err);
    if (code == SB_OK && sb_relay_out_to_note(relay->out, 0))
        code = save_notes(relay, &batch, err);
    else if (code == SB_OK)
        code = save_lazily(relay, &batch, err);
    sb_tally_write_fini(&counted);
    sb_buf_fini(&detail);
    if (code != SB_OK)
        return code;
    sb_relay_out_tally(relay->out)->count = 0;
    relay->saved = cursor;
    relay->saved_us = sb_mono_us();
    return SB_OK;
}

static sb_code_t save_when_due(sb_relay_t *relay, sb_error_t *err)
{
    int64_t since = sb_mono_us() - relay->saved_us;
    bool due = since >= BEAT_EVERY_US || (since >= SAVE_EVERY_US && cursor_of(relay) != relay->saved) ||
               sb_tally_is_long(sb_relay_out_tally(relay->out));
    return due ? save(relay, err) : SB_OK;
}

/* ---- how far it may go ---- */

static sb_code_t ask_safe(sb_relay_t *relay, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(relay->pg, sb_sql_relay_safe, NULL, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) != 1)
        code = sb_fail(err, SB_UNAVAILABLE, "the store has no sequencer row: run `sagabus migrate`");
    if (code == SB_OK) {
        int64_t safe = sb_pg_get_int(rows, 0, 0);
        relay->incarnation = sb_pg_get_int(rows, 0, 1);
        relay->rebuild_no = sb_pg_is_null(rows, 0, 2) ? 0 : sb_pg_get_int(rows, 0, 2);
        relay->asked_us = sb_mono_us();
        relay->others_move = safe > relay->safe;
        if (safe > relay->safe) {
            relay->safe = safe;
            relay->moved_us = relay->asked_us;
        }
    }
    sb_pg_result_free(rows);
    return code;
}

static int64_t poll_every_us(const sb_relay_t *relay)
{
    bool told = relay->config.progress && atomic_load(&relay->config.progress->safe_seq) >= relay->safe;
    if (told && !relay->others_move)
        return BACKUP_POLL_US;
    return sb_mono_us() - relay->moved_us < QUIET_US ? FAST_POLL_US : SLOW_POLL_US;
}

/* Our own sequencer says it at once; for the others' we look into the lease row now and then. */
static sb_code_t update_safe(sb_relay_t *relay, sb_error_t *err)
{
    int64_t told = relay->config.progress ? atomic_load(&relay->config.progress->safe_seq) : 0;
    if (told > relay->safe) {
        relay->safe = told;
        relay->moved_us = sb_mono_us();
    }
    if (sb_mono_us() - relay->asked_us < poll_every_us(relay))
        return SB_OK;
    return ask_safe(relay, err);
}

/* ---- does Kafka know more than the store ---- */

/* Each class is detached for itself; the topic tells them apart, for no domain event is of the sagas'
 * category. */
static sb_event_class_t class_of(const sb_relay_t *relay, const sb_relay_tail_t *tail)
{
    sb_slice_t category;
    const char *prefix = sb_config_get(relay->config.config, "kafka.prefix");
    bool saga = sb_topic_is_events(tail->topic, prefix, &category) && sb_slice_is(category, SB_SAGA_CATEGORY);
    return saga ? SB_CLASS_SAGA : SB_CLASS_DOMAIN;
}

/* *has: the store has this very event, or had one there that it does not keep, which proves nothing. */
static sb_code_t look_up(sb_relay_t *relay, const sb_relay_tail_t *tail, bool *has, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, tail->position.seq);
    sb_pg_add_int2(&params, (int16_t)class_of(relay, tail));
    sb_code_t code = sb_pg_query(relay->pg, sb_sql_relay_event_id, &params, &rows, err);
    if (code != SB_OK)
        return code;
    *has = sb_pg_rows(rows) == 1 && sb_pg_get_bool(rows, 0, 1);
    if (*has && sb_pg_is_null(rows, 0, 0)) {
        *has = sb_pg_get_bool(rows, 0, 2);
    } else if (*has) {
        sb_uuid_t id = sb_pg_get_uuid(rows, 0, 0);
        *has = sb_uuid_equal(&id, &tail->id);
    }
    sb_pg_result_free(rows);
    return SB_OK;
}

static sb_code_t check_tail(void *context, const sb_relay_tail_t *tail, sb_error_t *err)
{
    sb_relay_t *relay = context;
    bool has = true;
    if (tail->position.incarnation != relay->incarnation)
        return SB_OK;
    sb_code_t code = look_up(relay, tail, &has, err);
    if (code != SB_OK || has)
        return code;
    relay->marks.forked = relay->incarnation;
    sb_log(SB_LOG_ERROR, "RELAY-FORKED",
           "Kafka has an event that the store has not|topic=%s partition=%d seq=%" PRId64 " safe_seq=%" PRId64
           " incarnation=%" PRId64,
           tail->topic, tail->partition, tail->position.seq, relay->safe, relay->incarnation);
    return SB_OK;
}

/* SB_MISMATCH while the relay must stand still. */
static sb_code_t check_fork(sb_relay_t *relay, sb_error_t *err)
{
    if (!relay->checked) {
        sb_code_t code = ask_safe(relay, err);
        if (code == SB_OK && relay->marks.forked != relay->incarnation) {
            relay->marks.forked = 0;
            code =
                sb_relay_tail_each(relay->config.config, TAIL_MS, &relay->stopping, check_tail, relay, err);
        }
        if (code == SB_OK && relay->marks.forked)
            code = save(relay, err);
        if (code != SB_OK)
            return code;
        relay->checked = true;
    }
    if (!relay->marks.forked)
        return SB_OK;
    relay->checked = relay->marks.forked == relay->incarnation; /* as update_safe hears it */
    return sb_fail(err, SB_MISMATCH,
                   "Kafka has events of incarnation %" PRId64
                   " that this store has not: it was restored, or shares "
                   "kafka.prefix with another; `sagabus store fork --confirm`, or another prefix",
                   relay->marks.forked);
}

/* ---- sending ---- */

static void on_failure(sb_relay_t *relay, const sb_error_t *err)
{
    int64_t lowest = sb_relay_out_restart(relay->out);
    if (lowest > 0)
        relay->read_to = lowest - 1;
    sb_relay_page_drop(&relay->page);
    relay->attempt++;
    uint32_t wait_ms =
        sb_retry_delay_ms(&again, relay->attempt, (uint64_t)sb_mono_us() * 0x9e3779b97f4a7c15u);
    relay->retry_us = sb_mono_us() + (int64_t)wait_ms * 1000;
    say(relay, err->message);
    (void)pthread_mutex_lock(&relay->stats_lock);
    relay->stats.resends += lowest > 0;
    (void)pthread_mutex_unlock(&relay->stats_lock);
    sb_log_error(SB_LOG_WARN, lowest > 0 ? "RELAY-RESEND" : "RELAY-RETRY", err,
                 "sending again|after=%" PRId64 " wait_ms=%" PRIu32, relay->read_to, wait_ms);
}

/* Sends what is left of the page. *full: librdkafka or the ring takes no more now. */
static sb_code_t send_page(sb_relay_t *relay, bool *full, sb_error_t *err)
{
    sb_event_t event;
    while (sb_relay_page_has_row(&relay->page)) {
        sb_code_t code = sb_relay_page_event(&relay->page, relay->pg, &event, err);
        if (code == SB_OK)
            code = sb_relay_out_send(relay->out, &event, relay->incarnation, relay->lease.epoch, err);
        *full = code == SB_BUSY;
        if (code != SB_OK)
            return *full ? SB_OK : code;
        relay->read_to = event.seq;
        sb_relay_page_next(&relay->page);
    }
    relay->read_to = relay->page.end;
    sb_relay_page_drop(&relay->page);
    return SB_OK;
}

/* How long the next page is to gather events: one costs PostgreSQL and the brokers the same however few it
 * has. */
static int64_t gather_us(const sb_relay_t *relay)
{
    int64_t waiting = relay->safe - relay->read_to;
    if (!relay->many || waiting >= GATHER_MAX)
        return 0;
    int64_t left_us = relay->page_us + GATHER_US - sb_mono_us();
    return left_us > 0 ? left_us : 0;
}

static sb_code_t load_page(sb_relay_t *relay, sb_error_t *err)
{
    int64_t now_us = sb_mono_us();
    relay->many = (relay->safe - relay->read_to) * GATHER_US >= GATHER_EVENTS * (now_us - relay->page_us);
    relay->page_us = now_us;
    return sb_relay_page_load(&relay->page, relay->pg, relay->config.progress, relay->read_to, relay->safe,
                              err);
}

/* With no message time-out librdkafka never reports that nobody answers, so we watch for it. */
static void watch_answers(sb_relay_t *relay)
{
    int64_t now = sb_mono_us();
    int64_t acked = sb_relay_out_acked(relay->out);
    int64_t lowest = sb_relay_out_oldest(relay->out);
    if (lowest == 0 || lowest != relay->lowest) {
        relay->lowest = lowest;
        relay->lowest_us = now;
    }
    bool silent = sb_relay_out_oldest(relay->out) > 0 && acked == relay->acked_seen;
    bool idle = relay->read_to >= relay->safe && sb_relay_out_oldest(relay->out) == 0;
    if (!silent) {
        if (acked > relay->acked_seen || idle) { /* a trouble that passed while nothing was to be sent, too */
            relay->attempt = 0;
            say(relay, "");
        }
        relay->acked_seen = acked;
        relay->acked_us = now;
    } else if (now - relay->acked_us > SILENT_US) {
        say(relay, "Kafka does not acknowledge what was sent: it is away, or short of in-sync replicas");
    }
}

/* Once nothing is under way. Until then nothing more is sent. */
static sb_code_t rebuild(sb_relay_t *relay, bool *idle, sb_error_t *err)
{
    sb_relay_page_drop(&relay->page);
    *idle = sb_relay_out_oldest(relay->out) > 0;
    if (*idle)
        return SB_OK;
    if (cursor_of(relay) !=
        relay->saved) { /* what is filled up to here is not to be sent again by a successor */
        sb_code_t saved = save(relay, err);
        if (saved != SB_OK)
            return saved;
    }
    sb_relay_rebuild_t with = {.config = relay->config.config,
                               .pg = relay->pg,
                               .lease = &relay->lease,
                               .marks = &relay->marks,
                               .out = relay->out,
                               .incarnation = relay->incarnation,
                               .upto = relay->read_to,
                               .stopping = &relay->stopping};
    sb_code_t code = sb_relay_rebuild_run(&with, relay->rebuild_no, err);
    relay->asked_us = 0; /* there may be another one */
    relay->rebuild_no = code == SB_OK ? 0 : relay->rebuild_no;
    return code;
}

/* While librdkafka has a few under way it would look for their answer without a pause, were there more to
 * send (bus/producer.c): those wait for it here, and are read as one page. */
static bool waits_for_kafka(const sb_relay_t *relay)
{
    return sb_relay_out_has_enough(relay->out) && relay->safe - relay->read_to < FEW_EVENTS &&
           sb_mono_us() - relay->lowest_us < FEW_WAIT_US;
}

/* Failures of Kafka end here; those of PostgreSQL and the lease are returned. *idle: nothing to do now. */
static sb_code_t step(sb_relay_t *relay, bool *idle, sb_error_t *err)
{
    bool full = false;
    *idle = true;
    sb_code_t code = update_safe(relay, err);
    if (code == SB_OK)
        code = save_when_due(relay, err);
    if (code != SB_OK)
        return code;
    code = sb_relay_out_serve(relay->out, 0, err);
    if (code == SB_OK && sb_mono_us() >= relay->retry_us)
        code = check_fork(relay, err);
    if (code != SB_OK)
        goto kafka;
    if (sb_mono_us() < relay->retry_us)
        return SB_OK;
    if (relay->rebuild_no > 0) {
        code = rebuild(relay, idle, err);
        if (code == SB_OK || code == SB_STOPPED)
            return SB_OK;
        goto kafka;
    }
    if (!sb_relay_page_is_loaded(&relay->page) && relay->read_to < relay->safe && !waits_for_kafka(relay) &&
        gather_us(relay) == 0) {
        code = load_page(relay, err);
        if (code != SB_OK)
            return code;
    }
    if (sb_relay_page_is_loaded(&relay->page))
        code = send_page(relay, &full, err);
    watch_answers(relay);
    *idle = full || relay->read_to >= relay->safe || waits_for_kafka(relay) || gather_us(relay) > 0;
    if (code == SB_OK)
        return SB_OK;
kafka:
    if (code == SB_FENCED || code == SB_CORRUPT || !sb_pg_is_open(relay->pg))
        return code;
    on_failure(relay, err);
    return SB_OK;
}

/* ---- owning ---- */

static void step_down(sb_relay_t *relay)
{
    if (relay->out) {
        relay->sent_before += sb_relay_out_acked(relay->out);
        relay->withheld_before += sb_relay_out_withheld(relay->out);
    }
    sb_relay_out_close(&relay->out);
    sb_relay_page_drop(&relay->page);
    if (relay->pg)
        sb_lease_release(&relay->lease, relay->pg);
    relay->lease.epoch = 0;
}

/* Says which events are to reach Kafka. */
static sb_code_t begin_count(sb_relay_t *relay, sb_error_t *err)
{
    const char *type;
    sb_pg_array_t types;
    sb_pg_array_init(&types, SB_PG_TEXT);
    for (size_t i = 0; (type = sb_saga_public_type(i)); i++)
        sb_pg_array_add_slice(&types, sb_slice(type));
    sb_relay_out_count_from(relay->out, relay->lease.cursor);
    sb_code_t code = sb_pg_array_failed(&types) ? sb_fail(err, SB_NO_MEMORY, "relay: out of memory") : SB_OK;
    if (code == SB_OK)
        code = sb_tally_begin(relay->pg, ROLE, 0, NULL, &types, relay->lease.cursor, err);
    sb_pg_array_fini(&types);
    return code;
}

static sb_code_t take_over(sb_relay_t *relay, sb_error_t *err)
{
    sb_code_t code = sb_lease_acquire(&relay->lease, relay->pg, relay->config.owner, relay->overdue_ms, err);
    if (code == SB_OK)
        code = sb_relay_marks_parse(&relay->marks, sb_buf_slice(&relay->lease.detail), err);
    if (code == SB_OK)
        code = sb_relay_out_open(&relay->out, relay->config.config, &relay->marks, &relay->signal, err);
    if (code != SB_OK)
        return code;
    code = begin_count(relay, err);
    if (code != SB_OK)
        return code;
    sb_relay_out_warm(relay->out);
    relay->read_to = relay->saved = relay->lease.cursor;
    relay->saved_us = sb_mono_us();
    relay->retry_us = 0;
    relay->checked = false;
    relay->safe = 0;
    relay->asked_us = 0;
    relay->acked_seen = 0;
    relay->acked_us = sb_mono_us();
    say(relay, "");
    return SB_OK;
}

static sb_code_t open_pg(sb_relay_t *relay, sb_error_t *err)
{
    sb_pg_config_t config = {
        .uri = relay->config.pg_uri, .application_name = "sagabus relay", .generic_plans = true};
    return relay->pg ? sb_pg_reopen(relay->pg, err) : sb_pg_open(&relay->pg, &config, err);
}

/* Until a stop is asked for or the ownership ends. */
static sb_code_t own(sb_relay_t *relay, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && !atomic_load(&relay->stopping)) {
        bool idle = true;
        sb_signal_clear(&relay->signal); /* before looking, so that what comes later is seen */
        code = step(relay, &idle, err);
        publish_stats(relay);
        if (code != SB_OK || !idle || atomic_load(&relay->stopping))
            continue;
        int64_t wait_us = sb_relay_out_oldest(relay->out) > 0 ? FAST_POLL_US : poll_every_us(relay);
        int64_t gather = relay->read_to < relay->safe ? gather_us(relay) : 0;
        if (gather > 0 && gather < wait_us)
            wait_us = gather;
        struct pollfd fd = {.fd = relay->signal.fd, .events = POLLIN};
        (void)poll(&fd, 1, (int)((wait_us + 999) / 1000));
    }
    return code;
}

/* An orderly end: what is under way arrives, and the successor begins right after it. */
static void hand_over(sb_relay_t *relay)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t until = sb_mono_us() + DRAIN_MS * 1000;
    while (sb_relay_out_oldest(relay->out) > 0 && sb_mono_us() < until)
        if (sb_relay_out_serve(relay->out, 50, &err) != SB_OK)
            break;
    int64_t lowest = sb_relay_out_restart(relay->out);
    if (lowest > 0)
        relay->read_to = lowest - 1;
    if (save(relay, &err) != SB_OK)
        sb_log_error(SB_LOG_WARN, "RELAY-SAVE", &err, "the cursor was not saved, the successor sends again");
    publish_stats(relay);
}

static sb_code_t run_once(sb_relay_t *relay, sb_error_t *err)
{
    sb_code_t code = relay->pg && sb_pg_is_open(relay->pg) ? SB_OK : open_pg(relay, err);
    if (code == SB_OK)
        code = take_over(relay, err);
    if (code == SB_OK) {
        relay->attempt = 0;
        code = own(relay, err);
        if (code == SB_OK)
            hand_over(relay);
    }
    step_down(relay);
    publish_stats(relay);
    return code;
}

void sb_relay_run(sb_relay_t *relay)
{
    while (!atomic_load(&relay->stopping)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = run_once(relay, &err);
        if (code == SB_OK)
            break;
        uint32_t wait_ms = STANDBY_MS;
        if (code == SB_BUSY) {
            say(relay, ""); /* another instance leads: that is no fault */
        } else {
            wait_ms =
                sb_retry_delay_ms(&again, ++relay->attempt, (uint64_t)sb_mono_us() * 0x9e3779b97f4a7c15u);
            say(relay, err.message);
            sb_log_error(SB_LOG_WARN, "RELAY-DOWN", &err, "the relay stands still|wait_ms=%" PRIu32, wait_ms);
        }
        int64_t until = sb_mono_us() + (int64_t)wait_ms * 1000;
        while (!atomic_load(&relay->stopping) && sb_mono_us() < until)
            (void)sb_signal_wait(&relay->signal, (until - sb_mono_us()) / 1000 + 1);
    }
    sb_pg_close(&relay->pg);
}

/* ---- opening ---- */

sb_code_t sb_relay_open(sb_relay_t **out, const sb_relay_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_relay_t *relay = calloc(1, sizeof *relay);
    if (!relay)
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    relay->config = *config;
    atomic_init(&relay->stopping, false);
    (void)pthread_mutex_init(&relay->stats_lock, NULL);
    sb_lease_init(&relay->lease, ROLE);
    sb_relay_page_init(&relay->page);
    relay->signal.fd = -1;
    sb_code_t code =
        sb_config_get_int(config->config, "lease.overdue_ms", 1000, 3600000, &relay->overdue_ms, err);
    if (code == SB_OK)
        code = sb_signal_init(&relay->signal, err);
    if (code != SB_OK) {
        sb_relay_close(&relay);
        return code;
    }
    if (config->progress)
        sb_progress_listen(config->progress, &relay->signal);
    *out = relay;
    return SB_OK;
}

void sb_relay_stop(sb_relay_t *relay)
{
    atomic_store(&relay->stopping, true);
    sb_signal_raise(&relay->signal);
}

void sb_relay_close(sb_relay_t **relay)
{
    sb_relay_t *r = *relay;
    if (!r)
        return;
    sb_relay_out_close(&r->out);
    sb_relay_page_fini(&r->page);
    sb_relay_marks_fini(&r->marks);
    sb_lease_fini(&r->lease);
    sb_pg_close(&r->pg);
    sb_signal_fini(&r->signal);
    (void)pthread_mutex_destroy(&r->stats_lock);
    free(r);
    *relay = NULL;
}
