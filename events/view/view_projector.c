/* One thread, all views, one connection to write and one to read ahead. Each view is a slot: not owned, or
 * owned with a batch that moves it. A slot that fails is closed and opened again later, from what the
 * database says; the others go on.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/retry.h"
#include "events/view/view_batch.h"
#include "events/view/view_generation.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS_MAX     64
#define SAVE_AFTER_US 250000 /* a checkpoint without rows is written this much later at the latest */

typedef struct slot {
    char name[SB_VIEW_NAME_MAX + 1];
    sb_lease_t lease; /* epoch 0: not owned */
    sb_tally_t tally; /* folded since the checkpoint in the database */
    sb_view_definition_t *definition;
    sb_view_batch_t *batch; /* NULL while not owned, or after a failure */
    int64_t saved_seq;      /* the checkpoint in the database */
    int64_t saved_us;
    int64_t level_us;    /* when it had folded all that was safe, on the monotonic clock */
    sb_hash_t folded_by; /* the fingerprint of the live generation */
    uint64_t revision;   /* of the catalog that it was compared with last */
    bool outdated;
    int64_t try_us; /* not before */
    uint32_t failures;
    bool noted; /* the lease row says what is wrong */
    bool by_c;  /* some version of it is folded by a C function */
} slot_t;

struct sb_projector {
    sb_projector_config_t config;
    sb_signal_t wake;
    atomic_bool stopping;
    sb_pg_t *pg;
    sb_pg_t *reader;       /* reads ahead; made when a view is first behind by more than a batch */
    int64_t reader_try_us; /* not before */
    bool reads_ahead;      /* the reader is of the same server */
    slot_t *slot[SLOTS_MAX];
    int slot_count;
    int64_t refresh_us; /* when registry and leases are looked at next */
    int64_t safe_seq;
    atomic_int views;
    atomic_int owned;
    atomic_int stuck;
    _Atomic int64_t events;
    _Atomic int64_t rows;
    _Atomic int64_t parked;
    _Atomic int64_t lag_events;
    _Atomic int64_t behind_since_us; /* 0: no owned view is behind */
};

static const sb_retry_policy_t patience = {SB_RETRY_EXPONENTIAL, 0, 100, 10000, true};

static uint32_t pause_ms(uint32_t failures)
{
    sb_uuid_t id = sb_uuid_v7();
    uint64_t random;
    memcpy(&random, id.byte + 8, sizeof random);
    return sb_retry_delay_ms(&patience, failures, random);
}

static bool is_stopping(sb_projector_t *projector)
{
    return atomic_load(&projector->stopping);
}

/* ---- life ---- */

sb_code_t sb_projector_open(sb_projector_t **out, const sb_projector_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_projector_t *projector = calloc(1, sizeof *projector);
    if (!projector)
        return sb_fail(err, SB_NO_MEMORY, "projector: out of memory");
    projector->config = *config;
    sb_projector_config_t *c = &projector->config;
    c->batch_events = c->batch_events ? c->batch_events : 1000;
    c->idle_ms = c->idle_ms ? c->idle_ms : 200;
    c->refresh_ms = c->refresh_ms ? c->refresh_ms : 2000;
    c->overdue_ms = c->overdue_ms ? c->overdue_ms : 10000;
    sb_code_t code = sb_signal_init(&projector->wake, err);
    if (code != SB_OK) {
        free(projector);
        return code;
    }
    if (c->progress)
        sb_progress_listen(c->progress, &projector->wake);
    *out = projector;
    return SB_OK;
}

static void close_batch(slot_t *slot)
{
    sb_view_batch_free(&slot->batch);
    sb_view_definition_free(&slot->definition);
}

void sb_projector_close(sb_projector_t **projector)
{
    sb_projector_t *p = *projector;
    if (!p)
        return;
    for (int i = 0; i < p->slot_count; i++) {
        close_batch(p->slot[i]);
        sb_lease_fini(&p->slot[i]->lease);
        free(p->slot[i]);
    }
    sb_pg_close(&p->reader);
    sb_pg_close(&p->pg);
    sb_signal_fini(&p->wake);
    free(p);
    *projector = NULL;
}

void sb_projector_stop(sb_projector_t *projector)
{
    atomic_store(&projector->stopping, true);
    sb_signal_raise(&projector->wake);
}

void sb_projector_stats(const sb_projector_t *projector, sb_views_stats_t *out)
{
    int64_t since = atomic_load(&projector->behind_since_us);
    *out = (sb_views_stats_t){.views = atomic_load(&projector->views),
                              .owned = atomic_load(&projector->owned),
                              .stuck = atomic_load(&projector->stuck),
                              .events = atomic_load(&projector->events),
                              .rows = atomic_load(&projector->rows),
                              .parked = atomic_load(&projector->parked),
                              .lag_ms = since ? (sb_mono_us() - since) / 1000 : 0,
                              .lag_events = atomic_load(&projector->lag_events)};
}

static void publish_stats(sb_projector_t *projector)
{
    int owned = 0;
    int stuck = 0;
    int64_t lag = 0;
    int64_t since = 0;
    int64_t now = sb_mono_us();
    for (int i = 0; i < projector->slot_count; i++) {
        slot_t *slot = projector->slot[i];
        if (slot->lease.epoch == 0) {
            slot->level_us = 0;
            continue;
        }
        owned++;
        stuck += slot->noted || !slot->batch;
        if (projector->safe_seq - slot->lease.cursor > lag)
            lag = projector->safe_seq - slot->lease.cursor;
        if (slot->lease.cursor >= projector->safe_seq || slot->level_us == 0)
            slot->level_us = now;
        else if (since == 0 || slot->level_us < since)
            since = slot->level_us;
    }
    atomic_store(&projector->views, projector->slot_count);
    atomic_store(&projector->owned, owned);
    atomic_store(&projector->stuck, stuck);
    atomic_store(&projector->lag_events, lag);
    atomic_store(&projector->behind_since_us, since);
}

/* ---- a slot's state in its lease row ---- */

static sb_code_t save(sb_projector_t *projector, slot_t *slot, const char *detail, sb_error_t *err)
{
    sb_code_t code = sb_view_batch_save(projector->pg, &slot->lease, &slot->tally, detail, err);
    if (code == SB_OK) {
        slot->saved_seq = slot->lease.cursor;
        slot->saved_us = sb_mono_us();
    }
    return code;
}

/* Says in the lease row, for `view list` of any process, why the view does not move. */
static sb_code_t note(sb_projector_t *projector, slot_t *slot, const char *state, const char *problem,
                      sb_error_t *err)
{
    sb_buf_t detail = SB_BUF_INIT;
    sb_buf_printf(&detail, "{\"state\":\"%s\",\"problem\":", state);
    sb_buf_add_json(&detail, sb_slice(problem));
    sb_buf_add_char(&detail, '}');
    sb_code_t code = save(projector, slot, sb_buf_failed(&detail) ? NULL : sb_buf_text(&detail), err);
    sb_buf_fini(&detail);
    slot->noted = true;
    return code;
}

static sb_code_t note_well(sb_projector_t *projector, slot_t *slot, sb_error_t *err)
{
    sb_code_t code = save(projector, slot, "{}", err);
    if (code == SB_OK) {
        slot->noted = false;
        slot->failures = 0;
        sb_log(SB_LOG_INFO, "VIEW-WELL", "moves again|view=%s seq=%" PRId64, slot->name, slot->lease.cursor);
    }
    return code;
}

/* ---- opening and closing a slot ---- */

/* Rows that were folded before a new version of an event type came, or new rules of a time zone, keep their
 * old form: said once, when it is noticed. */
static void compare_rules(sb_projector_t *projector, slot_t *slot)
{
    sb_hash_t now;
    sb_error_t ignored = SB_ERROR_INIT;
    uint64_t revision = sb_catalog_revision(projector->config.catalog);
    if (slot->revision == revision)
        return;
    slot->revision = revision;
    bool outdated =
        sb_view_fingerprint(projector->config.catalog, slot->definition, &now, &ignored) == SB_OK &&
        memcmp(now.byte, slot->folded_by.byte, sizeof now.byte) != 0;
    if (outdated && !slot->outdated)
        sb_log(SB_LOG_WARN, "VIEW-OUTDATED",
               "rows of before follow older versions of their events, or older rules of a time zone, until "
               "the view is "
               "replayed|view=%s version=%d",
               slot->name, slot->definition->version);
    slot->outdated = outdated;
}

/* Makes the batch of the live generation; the first owner of a view makes its first generation. */
static sb_code_t open_batch(sb_projector_t *projector, slot_t *slot, sb_error_t *err)
{
    sb_view_generation_t live;
    sb_hash_t fingerprint;
    sb_code_t code = sb_view_generation_live(projector->pg, slot->name, &live, err);
    if (code == SB_OK)
        code = sb_view_registered(projector->config.catalog, sb_slice(slot->name), live.version,
                                  &slot->definition, &fingerprint, err);
    if (code == SB_OK)
        code = sb_view_foldable(slot->definition, err);
    if (code == SB_OK && live.number == 0)
        code = sb_view_history_whole(projector->pg, slot->name, 0, err);
    if (code == SB_OK && live.number == 0)
        code = sb_view_generation_first(projector->pg, &slot->lease, slot->definition, &fingerprint, err);
    else if (code == SB_OK && live.number != slot->lease.next)
        code = sb_fail(err, SB_CORRUPT, "view %s: generation %" PRId64 " is live, its lease says %" PRId64,
                       slot->name, live.number, slot->lease.next);
    sb_view_batch_config_t config = {.pg = projector->pg,
                                     .catalog = projector->config.catalog,
                                     .definition = slot->definition,
                                     .generation = slot->lease.next,
                                     .events_max = (int)projector->config.batch_events,
                                     .tally = &slot->tally};
    if (code == SB_OK)
        code =
            sb_view_batch_count(projector->pg, slot->definition, slot->lease.next, slot->lease.cursor, err);
    slot->folded_by = live.number == 0 ? fingerprint : live.fingerprint;
    slot->revision = 0;
    slot->outdated = false;
    return code == SB_OK ? sb_view_batch_new(&slot->batch, &config, err) : code;
}

static sb_code_t take(sb_projector_t *projector, slot_t *slot, sb_error_t *err)
{
    sb_code_t code = sb_lease_acquire(&slot->lease, projector->pg, projector->config.owner,
                                      projector->config.overdue_ms, err);
    if (code != SB_OK)
        return code;
    slot->tally.count = 0;
    slot->saved_seq = slot->lease.cursor;
    slot->saved_us = sb_mono_us();
    slot->noted = !sb_slice_is(sb_buf_slice(&slot->lease.detail), "{}");
    return SB_OK;
}

static void step_down(sb_projector_t *projector, slot_t *slot)
{
    close_batch(slot);
    sb_lease_release(&slot->lease, projector->pg);
}

/* What to do after an error in a slot. Not SB_OK: the connection is of no more use. */
static sb_code_t recover(sb_projector_t *projector, slot_t *slot, sb_code_t code, const sb_error_t *cause)
{
    sb_error_t ignored = SB_ERROR_INIT;
    close_batch(slot);
    if (!sb_pg_is_open(projector->pg) || code == SB_UNKNOWN_OUTCOME || code == SB_UNAVAILABLE)
        return code;
    sb_pg_rollback(projector->pg);
    if (code == SB_FENCED) {
        sb_log(SB_LOG_INFO, "VIEW-FENCED", "another took the view over, or it was replayed|view=%s",
               slot->name);
        step_down(projector, slot);
        projector->refresh_us = 0;
        return SB_OK;
    }
    slot->failures++;
    uint32_t pause = pause_ms(slot->failures);
    slot->try_us = sb_mono_us() + (int64_t)pause * 1000;
    sb_log_error(slot->failures > 1 ? SB_LOG_DEBUG : SB_LOG_ERROR, "VIEW-FAILED", cause,
                 "view %s stands still, next try in %u ms", slot->name, pause);
    if (slot->lease.epoch == 0)
        return SB_OK;
    sb_code_t noted = note(projector, slot, "failed", cause->message, &ignored);
    /* A definition that is not known or not understood here: a newer instance may do better. */
    if (noted == SB_FENCED || code == SB_NOT_FOUND || code == SB_INVALID || code == SB_UNSUPPORTED)
        step_down(projector, slot);
    return sb_pg_is_open(projector->pg) ? SB_OK : noted;
}

/* ---- registry and leases ---- */

static slot_t *slot_named(sb_projector_t *projector, const char *name)
{
    for (int i = 0; i < projector->slot_count; i++)
        if (strcmp(projector->slot[i]->name, name) == 0)
            return projector->slot[i];
    return NULL;
}

static sb_code_t add_slot(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    sb_projector_t *projector = context;
    slot_t *known = slot_named(projector, artifact->name);
    bool by_c = json_object_get(artifact->body, "fold") != NULL;
    if (known)
        known->by_c |= by_c;
    if (known || (projector->config.calls_only && !by_c))
        return SB_OK;
    if (projector->slot_count == SLOTS_MAX) {
        sb_log(SB_LOG_WARN, "VIEW-TOO-MANY", "more views than a projector takes|view=%s most=%d",
               artifact->name, SLOTS_MAX);
        return SB_OK;
    }
    slot_t *slot = calloc(1, sizeof *slot);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "projector: out of memory");
    char role[SB_LEASE_ROLE_MAX];
    (void)snprintf(slot->name, sizeof slot->name, "%s", artifact->name);
    sb_view_role(role, slot->name);
    sb_lease_init(&slot->lease, role);
    slot->by_c = by_c;
    projector->slot[projector->slot_count++] = slot;
    return SB_OK;
}

/* Whether the version that is live (of a view that was never projected, the newest) is folded here. A view by
 * a C function is the service's that has it, and is left alone by all others. */
static sb_code_t look_whose(sb_projector_t *projector, slot_t *slot, bool *ours, sb_error_t *err)
{
    const sb_catalog_t *catalog = projector->config.catalog;
    sb_view_generation_t live = {.version = 0};
    *ours = !projector->config.calls_only;
    if (!slot->by_c)
        return SB_OK;
    sb_code_t code = sb_view_generation_live(projector->pg, slot->name, &live, err);
    const sb_artifact_t *artifact =
        sb_catalog_artifact(catalog, SB_ARTIFACT_VIEW, sb_slice(slot->name), live.version);
    const char *fold = artifact ? json_string_value(json_object_get(artifact->body, "fold")) : NULL;
    sb_fold_fn fn;
    void *context;
    if (fold)
        *ours =
            sb_slice_starts(sb_slice(fold), "c:") && sb_catalog_fold_named(catalog, fold + 2, &fn, &context);
    return code;
}

static sb_code_t ready_slot(sb_projector_t *projector, slot_t *slot, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    bool ours = true;
    if (slot->lease.epoch == 0)
        code = look_whose(projector, slot, &ours, err);
    if (code == SB_OK && !ours)
        return SB_OK;
    if (code == SB_OK && slot->lease.epoch == 0)
        code = take(projector, slot, err);
    if (code == SB_BUSY)
        return SB_OK;
    if (code == SB_OK && !slot->batch)
        code = open_batch(projector, slot, err);
    return code == SB_OK ? code : recover(projector, slot, code, err);
}

/* Looks for new views and types, for free leases, and for slots whose time to try again has come. */
static sb_code_t refresh(sb_projector_t *projector, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    projector->refresh_us = now + (int64_t)projector->config.refresh_ms * 1000;
    sb_code_t code = sb_catalog_load(projector->config.catalog, projector->pg, err);
    if (code == SB_OK)
        code = sb_catalog_each(projector->config.catalog, SB_ARTIFACT_VIEW, add_slot, projector, err);
    for (int i = 0; i < projector->slot_count && code == SB_OK && !is_stopping(projector); i++) {
        sb_error_t cause = SB_ERROR_INIT;
        slot_t *slot = projector->slot[i];
        if (!slot->batch && slot->try_us <= now)
            code = ready_slot(projector, slot, &cause);
        if (code == SB_OK && slot->batch)
            compare_rules(projector, slot);
        if (code != SB_OK && err)
            *err = cause;
    }
    return code;
}

/* ---- moving ---- */

static sb_code_t settle(sb_projector_t *projector, slot_t *slot, const sb_view_batch_result_t *done,
                        sb_error_t *err)
{
    int64_t now = sb_mono_us();
    if (done->saved) {
        slot->saved_seq = slot->lease.cursor;
        slot->saved_us = now;
    }
    atomic_fetch_add(&projector->events, done->events);
    atomic_fetch_add(&projector->rows, done->rows);
    atomic_fetch_add(&projector->parked, done->parked);
    if (done->parked > 0)
        sb_log(SB_LOG_WARN, "VIEW-PARKED",
               "keys cannot be folded further|view=%s keys=%" PRId64 " seq=%" PRId64, slot->name,
               done->parked, slot->lease.cursor);
    if (done->waits_for[0]) {
        slot->try_us = now + (int64_t)projector->config.refresh_ms * 1000;
        return slot->noted ? SB_OK : note(projector, slot, "waiting", done->waits_for, err);
    }
    return slot->noted ? note_well(projector, slot, err) : SB_OK;
}

/* Renews the beat and writes a checkpoint that was only in memory. */
static sb_code_t keep(sb_projector_t *projector, slot_t *slot, sb_error_t *err)
{
    int64_t age = sb_mono_us() - slot->saved_us;
    bool behind = slot->saved_seq != slot->lease.cursor && age > SAVE_AFTER_US;
    return behind || age > (int64_t)projector->config.overdue_ms * 250 ? save(projector, slot, NULL, err)
                                                                       : SB_OK;
}

static bool ask_server(sb_pg_t *pg, sb_pg_result_t **rows)
{
    sb_error_t ignored = SB_ERROR_INIT;
    return sb_pg_query(pg, sb_sql_view_server, NULL, rows, &ignored) == SB_OK;
}

/* With several hosts in the URI a later connection may lead to a standby, which does not have everything yet;
 * what it lacks would be taken for a gap. */
static bool is_same_server(sb_projector_t *projector)
{
    sb_pg_result_t *ours = NULL;
    sb_pg_result_t *its = NULL;
    bool same = ask_server(projector->pg, &ours) && ask_server(projector->reader, &its) &&
                strcmp(sb_pg_get_text(ours, 0, 0), sb_pg_get_text(its, 0, 0)) == 0;
    sb_pg_result_free(ours);
    sb_pg_result_free(its);
    return same;
}

static void open_reader(sb_projector_t *projector)
{
    sb_error_t ignored = SB_ERROR_INIT;
    sb_pg_config_t config = {.uri = projector->config.pg_uri, .application_name = "sagabus-projector"};
    sb_code_t code = projector->reader ? sb_pg_reopen(projector->reader, &ignored)
                                       : sb_pg_open(&projector->reader, &config, &ignored);
    projector->reads_ahead = code == SB_OK && is_same_server(projector);
    if (code == SB_OK && !projector->reads_ahead)
        code = sb_fail(&ignored, SB_UNAVAILABLE, "the second connection leads to another server");
    if (code != SB_OK)
        sb_log_error(SB_LOG_DEBUG, "VIEW-READER", &ignored, "views that are behind do not read ahead");
}

/* A view that is behind reads ahead. Without a second connection it goes on with one. */
static void read_ahead(sb_projector_t *projector, slot_t *slot)
{
    int64_t now = sb_mono_us();
    bool behind = projector->safe_seq - slot->lease.cursor > projector->config.batch_events;
    bool open = projector->reads_ahead && sb_pg_is_open(projector->reader);
    if (behind && !open && now >= projector->reader_try_us) {
        projector->reader_try_us = now + (int64_t)projector->config.refresh_ms * 1000;
        open_reader(projector);
    }
    if (projector->reader) /* a session where something of the batch is prepared is never taken from it */
        sb_view_batch_read_ahead(slot->batch, projector->reads_ahead ? projector->reader : NULL);
}

/* One batch of a slot. *moved: it went on, there may be more. */
static sb_code_t step(sb_projector_t *projector, slot_t *slot, bool *moved, sb_error_t *err)
{
    sb_view_batch_result_t done;
    sb_code_t code = SB_OK;
    if (slot->lease.cursor < projector->safe_seq && slot->try_us <= sb_mono_us()) {
        int64_t from = slot->lease.cursor;
        read_ahead(projector, slot);
        code = sb_view_batch_run(slot->batch, &slot->lease, projector->safe_seq, &done, err);
        if (code == SB_OK)
            code = settle(projector, slot, &done, err);
        *moved |= slot->lease.cursor > from;
    }
    return code == SB_OK ? keep(projector, slot, err) : code;
}

static sb_code_t turn(sb_projector_t *projector, bool *moved, sb_error_t *err)
{
    *moved = false;
    for (int i = 0; i < projector->slot_count && !is_stopping(projector); i++) {
        sb_error_t cause = SB_ERROR_INIT;
        slot_t *slot = projector->slot[i];
        if (slot->lease.epoch == 0)
            continue;
        /* One that stands still beats too: for an overdue one another instance ends our whole connection. */
        sb_code_t code = slot->batch ? step(projector, slot, moved, &cause) : keep(projector, slot, &cause);
        if (code != SB_OK)
            code = recover(projector, slot, code, &cause);
        if (code != SB_OK) {
            *err = cause;
            return code;
        }
    }
    return SB_OK;
}

static int64_t published_seq(const sb_projector_t *projector)
{
    return projector->config.progress ? atomic_load(&projector->config.progress->safe_seq) : 0;
}

/* Waits for news of the sequencer of this process; on time-out, of that of another. */
static sb_code_t wait_for_more(sb_projector_t *projector, sb_error_t *err)
{
    bool told = sb_signal_wait(&projector->wake, projector->config.idle_ms);
    if (told && published_seq(projector) > projector->safe_seq)
        return SB_OK;
    int64_t seq = 0;
    sb_code_t code = is_stopping(projector) ? SB_OK : sb_view_safe_seq(projector->pg, &seq, err);
    if (code == SB_OK && seq > projector->safe_seq)
        projector->safe_seq = seq;
    return code;
}

static sb_code_t run_connected(sb_projector_t *projector, sb_error_t *err)
{
    sb_code_t code = sb_view_safe_seq(projector->pg, &projector->safe_seq, err);
    projector->refresh_us = 0;
    while (code == SB_OK && !is_stopping(projector)) {
        bool moved = false;
        if (sb_mono_us() >= projector->refresh_us)
            code = refresh(projector, err);
        if (published_seq(projector) > projector->safe_seq)
            projector->safe_seq = published_seq(projector);
        if (code == SB_OK)
            code = turn(projector, &moved, err);
        publish_stats(projector);
        if (code == SB_OK && !moved)
            code = wait_for_more(projector, err);
    }
    return code;
}

/* ---- the connection ---- */

static sb_code_t connect_now(sb_projector_t *projector, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = projector->config.pg_uri, .application_name = "sagabus-projector"};
    return projector->pg ? sb_pg_reopen(projector->pg, err) : sb_pg_open(&projector->pg, &config, err);
}

static void let_go(sb_projector_t *projector)
{
    for (int i = 0; i < projector->slot_count; i++) {
        slot_t *slot = projector->slot[i];
        sb_error_t ignored = SB_ERROR_INIT;
        if (slot->lease.epoch != 0 && slot->saved_seq != slot->lease.cursor && sb_pg_is_open(projector->pg)) {
            sb_code_t best_effort = save(projector, slot, NULL, &ignored);
            (void)best_effort;
        }
        step_down(projector, slot);
    }
    sb_pg_close(&projector->reader); /* the next connection may lead to another server */
    projector->reads_ahead = false;
    projector->reader_try_us = 0;
    publish_stats(projector);
}

static void rest(sb_projector_t *projector, uint32_t ms)
{
    int64_t until = sb_mono_us() + (int64_t)ms * 1000;
    for (int64_t left = ms; left > 0 && !is_stopping(projector); left = (until - sb_mono_us()) / 1000)
        (void)sb_signal_wait(&projector->wake, left);
}

void sb_projector_run(sb_projector_t *projector)
{
    uint32_t failures = 0;
    while (!is_stopping(projector)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = connect_now(projector, &err);
        bool connected = code == SB_OK;
        if (connected)
            code = run_connected(projector, &err);
        let_go(projector);
        if (code == SB_OK)
            continue;
        failures = connected ? 1 : failures + 1;
        uint32_t pause = pause_ms(failures);
        sb_log_error(SB_LOG_WARN, "VIEW-RECONNECT", &err, "the projector starts over in %u ms", pause);
        rest(projector, pause);
    }
}
