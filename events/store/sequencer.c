/* One elected sequencer feeds the rule (sequencer_rule.c) and writes its result to the lease row. A tick is
 * one statement, sagabus.sequencer_tick, which follows the run of events that are there and moves safe_seq in
 * the lease row when it can: one round trip, and one commit only then. A number without its event is mostly
 * an append at work; the holders of the lock, which cost more than all the rest to list, are looked at when
 * the run has not got on for a few ticks, and when it is too long for a tick. The rule's arithmetic is there
 * and here, and the two must agree. While nothing is drawn a tick is a look at the sequence alone.
 *
 * Pace: at most tick_ms between two ticks while events come. A tick that moved safe_seq is followed by a rest
 * of half its length, for it mostly waited for the disk. One that found appenders at work writes nothing: it
 * is repeated after a rest of its own length, then twice as long. Then a poke wakes it. While many events
 * come, a tick is made every 8 to 32 milliseconds for all of them, as each costs a commit here, a page and a
 * request to the brokers in the relay, and a look of each reader. (A commit costs what 100 events cost their
 * writer; a crowd of them waits a little longer for it.)
 *
 * Disk: what is known to be there is published by a commit that does not wait for it, when one statement has
 * counted that all of it is to be seen (sequencer_told.sql); that is a tick, too. Word of what comes next is
 * waited for before a tick: a moment, and while many events come as long as a tick is for. Where it does not
 * come, or is of a part only, others append too: for a while a tick is for the whole run, and waits for
 * nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/sequencer.h"

#include "base/clock.h"
#include "base/lease.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/thread.h"
#include "events/store/keeper.h"
#include "events/store/sequencer_rule.h"
#include "events_sql.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BEHIND_WAIT_MAX_MS 10
#define BEHIND_AT_WORK_MS  50 /* so long an appender is waited for at the pace of events */
#define BLOCKER_AFTER_MS   50 /* a holder of less is an appender at work */
#define BLOCKER_EVERY_MS   250
#define RUN_MAX            256 /* events a tick follows: sequencer_tick has the number, too */
#define MANY_EVENTS        32  /* within MANY_US: more than a service at its ease appends */
#define MANY_US            8000
#define CROWD              64     /* told events in MANY_US; a tick is as much longer as more of them come */
#define CROWD_TIMES        4      /* and so much longer at most */
#define COUNT_US           16000  /* what is counted in less is chance: two events may well come at once */
#define STILL_MAX          2      /* ticks that the run may stand still before the holders are looked at */
#define TOLD_US            100000 /* so long after the last word of an append its like are waited for */
#define WORD_US            500    /* at most, at a time; MANY_US while many events come */
#define TOLD_MAX           4096   /* events that are counted at a time */

struct sb_sequencer {
    char *uri;
    char *owner;
    sb_progress_t *progress;
    uint32_t tick_ms, idle_ms, overdue_ms;
    sb_keeper_t *keeper;
    sb_signal_t wake; /* poked by appenders; raised by stop */
    _Atomic bool stopping;
    sb_pg_t *pg;
    sb_lease_t lease;
    sb_sequencer_rule_t rule;
    int still;                   /* ticks since the run got on; at STILL_MAX the holders are looked at */
    bool waited;                 /* for word that events are on disk: before the next tick it is not again */
    bool rested;                 /* the last rest was that of many events */
    bool in_vain;                /* there was no word of what the next tick finds */
    bool by_word;                /* the last tick published what it had word of */
    bool by_part;                /* … not all of it: there was too much for one */
    int64_t left;                /* up to here the last tick saw a run; it may have published a part */
    int64_t told_us;             /* of the last word that events are on disk */
    int64_t others_us;           /* when events were last found of which nobody says so */
    bool busy;                   /* the last tick saw something, or someone poked */
    uint32_t wait_ms;            /* until the next tick */
    int64_t rest_us;             /* the last one between two ticks at work */
    int64_t moved_us;            /* when the tick that moved safe_seq last began */
    int64_t counted, counted_us; /* events since then, to tell whether many come */
    bool many;
    int64_t written_us, blocker_us; /* last written; next due */
    pthread_mutex_t lock;           /* of the two below */
    sb_sequencer_stats_t stats;
    int64_t behind_since_us; /* 0: safe_seq is not behind */
};

/* ---- open, stop, close ---- */

sb_code_t sb_sequencer_open(sb_sequencer_t **out, const sb_sequencer_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_sequencer_t *sequencer = calloc(1, sizeof *sequencer);
    if (!sequencer)
        return sb_fail(err, SB_NO_MEMORY, "sequencer: out of memory");
    sequencer->wake.fd = -1;
    sb_code_t code = sb_signal_init(&sequencer->wake, err);
    if (code != SB_OK) {
        free(sequencer);
        return code;
    }
    (void)pthread_mutex_init(&sequencer->lock, NULL);
    sb_lease_init(&sequencer->lease, "sequencer");
    sb_rule_init(&sequencer->rule);
    sequencer->uri = strdup(config->pg_uri);
    sequencer->owner = strdup(config->owner);
    sequencer->tick_ms = config->tick_ms ? config->tick_ms : 1;
    sequencer->idle_ms = config->idle_ms ? config->idle_ms : 50;
    sequencer->overdue_ms = config->overdue_ms ? config->overdue_ms : 10000;
    sequencer->progress = config->progress;
    sb_keeper_config_t keeper = {.pg_uri = config->pg_uri,
                                 .owner = config->owner,
                                 .overdue_ms = config->overdue_ms,
                                 .commands_kept_ms = config->commands_kept_ms,
                                 .seal_ms = config->seal_ms,
                                 .progress = config->progress};
    if (!sequencer->uri || !sequencer->owner)
        code = sb_fail(err, SB_NO_MEMORY, "sequencer: out of memory");
    if (code == SB_OK)
        code = sb_keeper_open(&sequencer->keeper, &keeper, err);
    if (code != SB_OK) {
        sb_sequencer_close(&sequencer);
        return code;
    }
    if (sequencer->progress)
        sequencer->progress->poke = &sequencer->wake;
    *out = sequencer;
    return SB_OK;
}

void sb_sequencer_stop(sb_sequencer_t *sequencer)
{
    atomic_store(&sequencer->stopping, true);
    sb_signal_raise(&sequencer->wake);
}

void sb_sequencer_close(sb_sequencer_t **sequencer)
{
    sb_sequencer_t *s = *sequencer;
    if (!s)
        return;
    if (s->progress && s->progress->poke == &s->wake)
        s->progress->poke = NULL;
    sb_keeper_close(&s->keeper);
    sb_lease_fini(&s->lease);
    sb_rule_fini(&s->rule);
    sb_pg_close(&s->pg);
    sb_signal_fini(&s->wake);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->owner);
    free(s->uri);
    free(s);
    *sequencer = NULL;
}

static bool is_stopping(sb_sequencer_t *sequencer)
{
    return atomic_load(&sequencer->stopping);
}

/* ---- stats ---- */

void sb_sequencer_stats(const sb_sequencer_t *sequencer, sb_sequencer_stats_t *out)
{
    pthread_mutex_t *lock = &((sb_sequencer_t *)(uintptr_t)sequencer)->lock;
    (void)pthread_mutex_lock(lock);
    *out = sequencer->stats;
    out->sealed_seq = sb_keeper_sealed(sequencer->keeper);
    sb_keeper_tally(sequencer->keeper, &out->gap_ranges, &out->complete_seq);
    if (sequencer->behind_since_us)
        out->lag_ms = (sb_mono_us() - sequencer->behind_since_us) / 1000;
    (void)pthread_mutex_unlock(lock);
}

static void note_leader(sb_sequencer_t *sequencer, bool leader)
{
    (void)pthread_mutex_lock(&sequencer->lock);
    sequencer->stats = (sb_sequencer_stats_t){.leader = leader, .safe_seq = sequencer->rule.safe};
    sequencer->behind_since_us = 0;
    (void)pthread_mutex_unlock(&sequencer->lock);
}

static void note_tick(sb_sequencer_t *sequencer, int64_t drawn, bool moved)
{
    int64_t lag = drawn - sequencer->rule.safe;
    (void)pthread_mutex_lock(&sequencer->lock);
    sequencer->stats.safe_seq = sequencer->rule.safe;
    sequencer->stats.lag_events = lag;
    if (lag == 0)
        sequencer->behind_since_us = 0;
    else if (moved || sequencer->behind_since_us == 0)
        sequencer->behind_since_us = sb_mono_us();
    if (lag == 0 || moved) {
        sequencer->stats.blocker_pid = 0;
        sequencer->stats.blocker_name[0] = '\0';
    }
    (void)pthread_mutex_unlock(&sequencer->lock);
}

/* Who holds safe_seq back, once that lasts. */
static sb_code_t name_blocker(sb_sequencer_t *sequencer, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    const sb_holder_t *blocker = sb_rule_blocker(&sequencer->rule);
    if (!blocker || sequencer->behind_since_us == 0 || now < sequencer->blocker_us ||
        now - sequencer->behind_since_us < BLOCKER_AFTER_MS * 1000)
        return SB_OK;
    sequencer->blocker_us = now + BLOCKER_EVERY_MS * 1000;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int4(&params, blocker->pid);
    sb_code_t code = sb_pg_query(sequencer->pg, sb_sql_sequencer_blocker, &params, &rows, err);
    if (code != SB_OK)
        return code;
    const char *name = sb_pg_rows(rows) ? sb_pg_get_text(rows, 0, 0) : "(prepared transaction)";
    (void)pthread_mutex_lock(&sequencer->lock);
    sequencer->stats.blocker_pid = blocker->pid;
    (void)snprintf(sequencer->stats.blocker_name, sizeof sequencer->stats.blocker_name, "%s", name);
    (void)pthread_mutex_unlock(&sequencer->lock);
    sb_pg_result_free(rows);
    return SB_OK;
}

/* ---- one tick ---- */

typedef struct tick {
    int64_t drawn, run, safe;
    bool looked, published;
} tick_t;

/* What is published was drawn before. Else the sequence was not copied with its table, or was set back:
 * events would appear where all readers have been. */
static sb_code_t check_drawn(const sb_sequencer_t *sequencer, int64_t drawn, sb_error_t *err)
{
    int64_t safe = sequencer->rule.safe;
    if (drawn >= safe)
        return SB_OK;
    return sb_fail(
        err, SB_CORRUPT,
        "sequencer: sagabus.event_seq stands at %lld, but readers have been given all up to %lld, and "
        "would skip what is appended now: stop appenders, SELECT setval('sagabus.event_seq', %lld)",
        (long long)drawn, (long long)safe, (long long)safe);
}

static sb_code_t feed_holders(sb_sequencer_t *sequencer, const tick_t *tick, const sb_pg_result_t *rows,
                              sb_error_t *err)
{
    int count = sb_pg_is_null(rows, 0, 4) ? 0 : sb_pg_rows(rows);
    sb_holder_t *holders = calloc((size_t)count + 1, sizeof *holders);
    if (!holders)
        return sb_fail(err, SB_NO_MEMORY, "sequencer: out of memory");
    sb_code_t code = SB_OK;
    for (int i = 0; i < count && code == SB_OK; i++) {
        const char *text = sb_pg_get_text(rows, i, 4);
        holders[i].pid = (int)sb_pg_get_int(rows, i, 5);
        if (!text || !sb_holder_parse(text, &holders[i].transaction))
            code =
                sb_fail(err, SB_INTERNAL, "sequencer: pg_locks names a transaction %s", text ? text : "NULL");
    }
    if (code == SB_OK)
        code = sb_rule_tick(&sequencer->rule, tick->drawn, holders, count, err);
    free(holders);
    return code;
}

static sb_code_t feed_rule(sb_sequencer_t *sequencer, const tick_t *tick, const sb_pg_result_t *rows,
                           sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (tick->run >= sequencer->rule.safe + RUN_MAX)
        sequencer->still = STILL_MAX;
    else if (tick->published || tick->drawn <= tick->safe)
        sequencer->still = 0;
    else
        sequencer->still++;
    /* A part of a run is one, too. */
    sb_rule_run(&sequencer->rule, tick->looked || tick->run < tick->safe ? tick->run : tick->safe);
    if (sequencer->in_vain && tick->run > sequencer->lease.cursor)
        sequencer->others_us = sb_mono_us();
    sequencer->waited = false;
    sequencer->left = tick->run;
    if (tick->looked)
        code = feed_holders(sequencer, tick, rows, err);
    else if (tick->drawn <= sequencer->rule.safe)
        sb_rule_rest(&sequencer->rule, tick->drawn);
    if (code == SB_OK && sequencer->rule.safe != tick->safe)
        code = sb_fail(err, SB_INTERNAL, "sequencer: by the rule %lld is safe, PostgreSQL says %lld",
                       (long long)sequencer->rule.safe, (long long)tick->safe);
    return code;
}

static void add_known(const sb_sequencer_rule_t *rule, sb_pg_array_t *known, sb_pg_array_t *lows)
{
    char text[SB_HOLDER_TEXT];
    for (int i = 0; i < rule->count; i++) {
        sb_pg_array_add_slice(known, sb_slice(sb_holder_format(rule->holders[i].transaction, text)));
        sb_pg_array_add_int8(lows, rule->holders[i].low);
    }
}

/* ---- what is on disk ---- */

static int64_t disk_seq(sb_sequencer_t *sequencer)
{
    int64_t safe = sequencer->rule.safe;
    return sequencer->progress ? sb_progress_disk_seq(sequencer->progress, safe) : safe;
}

/* It comes right after an append has become visible, from an appender of this process: sooner than a tick
 * would be back that saw the one without the other. */
static int64_t await_word(sb_sequencer_t *sequencer, int64_t left_us)
{
    int64_t until_us = sb_mono_us() + left_us;
    int64_t disk = disk_seq(sequencer);
    while (disk == sequencer->rule.safe && left_us > 0 && !is_stopping(sequencer)) {
        (void)sb_signal_wait_us(&sequencer->wake, left_us);
        disk = disk_seq(sequencer);
        left_us = until_us - sb_mono_us();
    }
    if (is_stopping(sequencer)) /* that signal was taken */
        sb_signal_raise(&sequencer->wake);
    return disk;
}

/* Up to where events are known to be on disk, when there may be some. */
static int64_t ask_disk(sb_sequencer_t *sequencer)
{
    int64_t safe = sequencer->rule.safe;
    int64_t disk = disk_seq(sequencer);
    int64_t now = sb_mono_us();
    if (sequencer->rested && sequencer->left > disk)
        sequencer->others_us = now;
    bool others = sequencer->rested && sequencer->others_us && now - sequencer->others_us < TOLD_US;
    bool told = !others && sequencer->told_us && now - sequencer->told_us < TOLD_US;
    if (disk == safe && told && (sequencer->many || !sequencer->waited))
        disk = await_word(sequencer, sequencer->many ? MANY_US : WORD_US);
    sequencer->in_vain = told && sequencer->many && disk == safe;
    if (disk > safe)
        sequencer->told_us = now;
    return others ? safe : disk;
}

/* Publishes what is known to be on disk, if it is there to be seen: word of it is no proof of that, for this
 * connection may have another server. */
static sb_code_t publish_told(sb_sequencer_t *sequencer, int64_t disk, tick_t *tick, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    int64_t safe = sequencer->rule.safe;
    int64_t to = disk - safe > TOLD_MAX ? safe + TOLD_MAX : disk;
    sb_pg_add_int8(&params, sequencer->lease.epoch);
    sb_pg_add_int8(&params, safe);
    sb_pg_add_int8(&params, to);
    sb_code_t code = sb_pg_query(sequencer->pg, sb_sql_sequencer_told, &params, &rows, err);
    if (code == SB_OK && sb_pg_get_bool(rows, 0, 0)) {
        *tick = (tick_t){.drawn = to, .run = to, .safe = to, .published = true};
        sb_rule_run(&sequencer->rule, to);
        sequencer->still = 0;
        sequencer->waited = false;
        sequencer->left = to;
        sequencer->by_part = to < disk;
    }
    sb_pg_result_free(rows);
    return code;
}

/* What is published is on disk with all that it covers, since the log is sequential, or all that it covers
 * was there before (docs/adr/0008). */
static sb_code_t run_tick(sb_sequencer_t *sequencer, int64_t disk, tick_t *tick, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_t known;
    sb_pg_array_t lows;
    sb_pg_array_init(&known, SB_PG_TEXT);
    sb_pg_array_init(&lows, SB_PG_INT8);
    bool want_look = sequencer->still >= STILL_MAX;
    if (want_look)
        add_known(&sequencer->rule, &known, &lows);
    sb_pg_add_int8(&params, sequencer->lease.epoch);
    sb_pg_add_int8(&params, sequencer->rule.previous);
    sb_pg_add_int8(&params, sequencer->rule.safe);
    sb_pg_add_array(&params, &known);
    sb_pg_add_array(&params, &lows);
    sb_pg_add_bool(&params, want_look);
    sb_pg_add_int8(&params, disk);
    sb_code_t code = sb_pg_query(sequencer->pg, sb_sql_sequencer_tick, &params, &rows, err);
    if (code == SB_OK) {
        *tick = (tick_t){.drawn = sb_pg_get_int(rows, 0, 0),
                         .run = sb_pg_get_int(rows, 0, 1),
                         .safe = sb_pg_get_int(rows, 0, 2),
                         .looked = sb_pg_get_bool(rows, 0, 3)};
        tick->published = tick->safe > sequencer->rule.safe;
        code = check_drawn(sequencer, tick->drawn, err);
        if (code == SB_OK)
            code = feed_rule(sequencer, tick, rows, err);
    }
    sb_pg_result_free(rows);
    sb_pg_array_fini(&known);
    sb_pg_array_fini(&lows);
    return code;
}

/* An idle store is looked at, no more. */
static sb_code_t look(sb_sequencer_t *sequencer, tick_t *tick, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(sequencer->pg, sb_sql_sequencer_last, NULL, &rows, err);
    if (code == SB_OK)
        *tick = (tick_t){.drawn = sb_pg_get_int(rows, 0, 0), .safe = sequencer->rule.safe};
    sb_pg_result_free(rows);
    return code;
}

static void publish(sb_sequencer_t *sequencer)
{
    sequencer->lease.cursor = sequencer->rule.safe;
    sequencer->written_us = sb_mono_us();
    if (sequencer->progress)
        sb_progress_publish_safe(sequencer->progress, sequencer->lease.cursor);
}

static sb_code_t run(sb_sequencer_t *sequencer, tick_t *tick, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    int64_t disk = ask_disk(sequencer);
    sequencer->by_part = false;
    if (disk > sequencer->rule.safe)
        code = publish_told(sequencer, disk, tick, err);
    sequencer->by_word = tick->published;
    return code == SB_OK && !tick->published ? run_tick(sequencer, disk, tick, err) : code;
}

static sb_code_t tick(sb_sequencer_t *sequencer, bool *behind, sb_error_t *err)
{
    tick_t tick = {0};
    sb_code_t code = sequencer->busy ? SB_OK : look(sequencer, &tick, err);
    if (code == SB_OK && (sequencer->busy || tick.drawn != sequencer->rule.safe))
        code = run(sequencer, &tick, err);
    else if (code == SB_OK)
        sb_rule_rest(&sequencer->rule, tick.drawn);
    if (code != SB_OK)
        return code;
    *behind = tick.drawn > sequencer->rule.safe;
    if (tick.published)
        publish(sequencer);
    note_tick(sequencer, tick.drawn, tick.published);
    return *behind ? name_blocker(sequencer, err) : SB_OK;
}

/* ---- what an idle leader does beside ---- */

static sb_code_t beat(sb_sequencer_t *sequencer, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    if (now - sequencer->written_us < (int64_t)sequencer->overdue_ms * 1000 / 4)
        return SB_OK;
    sequencer->written_us = now;
    return sb_lease_beat(&sequencer->lease, sequencer->pg, err);
}

/* ---- the loop ---- */

/* Whether safe_seq waits for appenders that are merely at work. */
static bool is_at_work(const sb_sequencer_t *sequencer)
{
    return sb_mono_us() - sequencer->behind_since_us < BEHIND_AT_WORK_MS * 1000;
}

/* How long a tick of told events is, by how many came since the last one. */
static int64_t tick_of_crowd(int64_t events, int64_t since_us)
{
    int64_t come = events * MANY_US / (since_us > 0 ? since_us : 1);
    if (come <= CROWD)
        return MANY_US;
    return come < CROWD_TIMES * CROWD ? MANY_US * come / CROWD : CROWD_TIMES * MANY_US;
}

/* How long after a tick that moved safe_seq by so many the next one is worth it; 0: at once. */
static int64_t rest_of_many(sb_sequencer_t *sequencer, int64_t events, int64_t start_us)
{
    int64_t since_us = start_us - sequencer->moved_us, counted_us = start_us - sequencer->counted_us;
    sequencer->moved_us = start_us;
    sequencer->counted += events;
    if (counted_us >= COUNT_US) {
        sequencer->many = sequencer->counted * MANY_US >= MANY_EVENTS * counted_us;
        sequencer->counted_us = start_us;
        sequencer->counted = 0;
    }
    if (!sequencer->many || sequencer->by_part)
        return 0;
    /* A tick that follows a run follows no more than RUN_MAX. */
    int64_t fits_us = RUN_MAX / 2 * since_us / events, spent_us = sb_mono_us() - start_us;
    if (sequencer->by_word)
        return tick_of_crowd(events, since_us) - spent_us;
    return (fits_us < MANY_US ? fits_us : MANY_US) - spent_us;
}

/* A tick that had something to do is followed by a rest, whatever pokes: of half its own length once it
 * moved, of its own and then twice the last one while appenders are at work. Then the pause doubles, and a
 * poke ends it. */
static void pause_between(sb_sequencer_t *sequencer, int64_t moved_by, bool behind, int64_t start_us)
{
    int64_t tick_us = (int64_t)sequencer->tick_ms * 1000;
    int64_t cost_us = sb_mono_us() - start_us;
    int64_t many_us = moved_by > 0 ? rest_of_many(sequencer, moved_by, start_us) : 0;
    bool moved = moved_by > 0;
    bool at_work = behind && is_at_work(sequencer);
    if (moved)
        sequencer->rest_us = cost_us / 2;
    else if (behind)
        sequencer->rest_us = sequencer->rest_us * 2 > cost_us ? sequencer->rest_us * 2 : cost_us;
    if (sequencer->rest_us > tick_us)
        sequencer->rest_us = tick_us;
    sequencer->rested = many_us > sequencer->rest_us;
    sequencer->waited |= sequencer->rested;
    if (moved || behind)
        sb_sleep_us(sequencer->rest_us > many_us ? sequencer->rest_us : many_us);
    if (moved || at_work) {
        sequencer->busy = true;
        sequencer->wait_ms = sequencer->tick_ms;
        return;
    }
    uint32_t longest =
        behind && sequencer->idle_ms > BEHIND_WAIT_MAX_MS ? BEHIND_WAIT_MAX_MS : sequencer->idle_ms;
    bool poked = sb_signal_wait(&sequencer->wake, sequencer->wait_ms);
    sequencer->busy = behind || poked;
    sequencer->wait_ms = poked                              ? sequencer->tick_ms
                         : sequencer->wait_ms * 2 < longest ? sequencer->wait_ms * 2
                                                            : longest;
}

/* Takes the lease and starts the rule anew: whatever was known of holders belongs to another connection. */
static sb_code_t take_over(sb_sequencer_t *sequencer, sb_error_t *err)
{
    sb_pg_config_t config = {
        .uri = sequencer->uri, .application_name = "sagabus sequencer", .generic_plans = true};
    sb_code_t code = SB_OK;
    if (!sb_pg_is_open(sequencer->pg)) {
        sb_pg_close(&sequencer->pg);
        code = sb_pg_open(&sequencer->pg, &config, err);
        if (code == SB_OK)
            code = sb_pg_commit_durably(sequencer->pg, err);
        if (code == SB_OK)
            code = sb_pg_script(sequencer->pg, "SET enable_seqscan = off; SET enable_bitmapscan = off", err);
    }
    if (code == SB_OK)
        code =
            sb_lease_acquire(&sequencer->lease, sequencer->pg, sequencer->owner, sequencer->overdue_ms, err);
    if (code != SB_OK)
        return code;
    if (sequencer->progress) /* it was said of another server, perhaps, or of one that was restored since */
        sb_progress_era_begin(sequencer->progress);
    sb_rule_start(&sequencer->rule, sequencer->lease.cursor);
    sequencer->still = STILL_MAX;
    sequencer->waited = sequencer->rested = sequencer->in_vain = false;
    sequencer->told_us = sequencer->others_us = 0;
    sequencer->wait_ms = sequencer->tick_ms;
    sequencer->written_us = sb_mono_us();
    sequencer->blocker_us = 0;
    note_leader(sequencer, true);
    if (sequencer->progress)
        sb_progress_publish_safe(sequencer->progress, sequencer->lease.cursor);
    return SB_OK;
}

/* Leads until stopped (SB_OK) or something is in the way. */
static sb_code_t lead(sb_sequencer_t *sequencer, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && !is_stopping(sequencer)) {
        bool behind = false;
        int64_t safe = sequencer->rule.safe;
        int64_t start_us = sb_mono_us();
        code = tick(sequencer, &behind, err);
        if (code == SB_OK)
            code = beat(sequencer, err);
        if (code == SB_OK)
            pause_between(sequencer, sequencer->rule.safe - safe, behind, start_us);
    }
    return code;
}

/* Waits out the time, whatever pokes; a stop ends it. */
static void rest(sb_sequencer_t *sequencer, uint32_t wait_ms)
{
    int64_t until = sb_mono_us() + (int64_t)wait_ms * 1000;
    for (int64_t now = sb_mono_us(); now < until && !is_stopping(sequencer); now = sb_mono_us())
        (void)sb_signal_wait(&sequencer->wake, (until - now) / 1000 + 1);
}

static uint32_t delay_after(const sb_sequencer_t *sequencer, sb_code_t code, uint32_t failures)
{
    static const sb_retry_policy_t policy = {SB_RETRY_EXPONENTIAL, 0, 100, 2000, true};
    if (code == SB_BUSY) /* another one leads: ask now and then */
        return sequencer->overdue_ms / 4 < 250 ? sequencer->overdue_ms / 4 + 1 : 250;
    return sb_retry_delay_ms(&policy, failures, (uint64_t)sb_mono_us() * UINT64_C(0x9e3779b97f4a7c15));
}

static void sequence(sb_sequencer_t *sequencer)
{
    uint32_t failures = 0;
    while (!is_stopping(sequencer)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = take_over(sequencer, &err);
        if (code == SB_OK) {
            failures = 0;
            code = lead(sequencer, &err);
            note_leader(sequencer, false);
            if (sequencer->progress)
                sb_progress_era_end(sequencer->progress);
        }
        if (code == SB_OK)
            break;
        if (code != SB_BUSY) {
            failures++;
            sb_log_error(SB_LOG_WARN, "SEQ-STEP-DOWN", &err, "the sequencer stands still and tries again");
            sb_pg_close(&sequencer->pg);
        }
        sequencer->lease.epoch = 0;
        rest(sequencer, delay_after(sequencer, code, failures));
    }
    if (sequencer->pg)
        sb_lease_release(&sequencer->lease, sequencer->pg);
    sb_pg_close(&sequencer->pg);
}

static void *run_keeper(void *context)
{
    sb_keeper_run(((sb_sequencer_t *)context)->keeper);
    return NULL;
}

void sb_sequencer_run(sb_sequencer_t *sequencer)
{
    pthread_t keeper;
    bool kept = sb_thread_start(&keeper, "keeper", run_keeper, sequencer);
    if (!kept)
        sb_log(SB_LOG_ERROR, "KEEPER-THREAD",
               "no thread for the keeper: no seals and no upkeep by this instance");
    sequence(sequencer);
    if (kept) {
        sb_keeper_stop(sequencer->keeper);
        (void)pthread_join(keeper, NULL);
    }
}
