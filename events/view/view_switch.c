/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_switch.h"

#include "base/clock.h"
#include "events_sql.h"

#include <inttypes.h>

#define BATCH_EVENTS 5000
#define NEAR_SEQS    2000 /* close enough to the end of the history to switch */
#define ROUNDS_MAX   20
#define PATIENCE_MS                                                                                          \
    (15 * 60000) /* with readers that are in the way; what is thrown away may be hours of work */
#define PAUSE_MAX_MS 2000

void sb_view_switch_fini(sb_view_switch_t *s)
{
    sb_view_batch_free(&s->batch);
}

/* ---- near ---- */

static sb_code_t fold_to(sb_view_switch_t *s, int64_t to, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && s->lease->cursor < to) {
        sb_view_batch_result_t done;
        code = sb_view_batch_run(s->batch, s->lease, to, &done, err);
        if (code == SB_OK && done.waits_for[0])
            code = sb_fail(err, SB_UNSUPPORTED, "%s", done.waits_for);
        if (code != SB_OK)
            break;
        s->events += done.events;
        s->rows += done.rows;
        s->parked += done.parked;
        code = s->on_step(s->context, err);
    }
    return code;
}

static sb_code_t ready(sb_view_switch_t *s, sb_error_t *err)
{
    sb_view_batch_config_t config = {.pg = s->pg,
                                     .catalog = s->catalog,
                                     .definition = s->definition,
                                     .generation = s->generation,
                                     .events_max = BATCH_EVENTS,
                                     .tally = &s->tally};
    return s->batch ? SB_OK : sb_view_batch_new(&s->batch, &config, err);
}

sb_code_t sb_view_switch_to(sb_view_switch_t *s, int64_t seq, sb_error_t *err)
{
    sb_code_t code = ready(s, err);
    s->seq_end = seq;
    return code == SB_OK ? fold_to(s, seq, err) : code;
}

sb_code_t sb_view_switch_near(sb_view_switch_t *s, sb_error_t *err)
{
    sb_code_t code = ready(s, err);
    for (int round = 0; code == SB_OK && round < ROUNDS_MAX; round++) {
        code = sb_view_safe_seq(s->pg, &s->seq_end, err);
        if (code != SB_OK || s->seq_end - s->lease->cursor < NEAR_SEQS)
            break;
        code = fold_to(s, s->seq_end, err);
    }
    return code;
}

/* ---- live ---- */

static sb_code_t lock_live(sb_view_switch_t *s, int64_t *seq, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_view_role(role, s->definition->name);
    sb_pg_add_text(&params, role);
    sb_code_t code = sb_pg_query(s->pg, sb_sql_view_lease_ensure, &params, NULL, err);
    if (code == SB_OK)
        code = sb_pg_query(s->pg, sb_sql_view_lease_lock, &params, &result, err);
    if (code == SB_OK) {
        *seq = sb_pg_get_int(result, 0, 0);
        s->retired = sb_pg_get_int(result, 0, 1);
    }
    sb_pg_result_free(result);
    return code;
}

/* The history was folded in the versions that were the newest at the start. When there are others by now, one
 * part of the rows would be of the old form and one of the new. */
static sb_code_t check_versions(const sb_view_switch_t *s, sb_error_t *err)
{
    sb_hash_t now;
    if (!s->fingerprint)
        return SB_OK;
    sb_code_t code = sb_catalog_load(s->catalog, s->pg, err);
    if (code == SB_OK)
        code = sb_view_fingerprint(s->catalog, s->definition, &now, err);
    if (code == SB_OK && memcmp(now.byte, s->fingerprint->byte, sizeof now.byte) != 0)
        code = sb_fail(
            err, SB_CONFLICT,
            "view %s: a new version of one of its event types was registered during the replay; start it "
            "again",
            s->definition->name);
    return code;
}

static sb_code_t flush_tally(sb_view_switch_t *s, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_view_role(role, s->definition->name);
    return sb_tally_flush(&s->tally, s->pg, s->lease, role, s->generation, err);
}

/* The lock keeps the projector out from here to the end, and what is left to fold is little. Readers must not
 * go back in time, so the new generation goes at least as far as the old one. */
static sb_code_t switch_locked(sb_view_switch_t *s, sb_error_t *err)
{
    int64_t old_seq = 0;
    sb_code_t code = sb_pg_script(s->pg, "SET LOCAL lock_timeout = '250ms'", err);
    if (code == SB_OK)
        code = sb_lease_beat(s->lease, s->pg, err); /* the guard */
    if (code == SB_OK)
        code = lock_live(s, &old_seq, err);
    if (code == SB_OK)
        code = sb_view_safe_seq(s->pg, &s->seq_end, err);
    if (code == SB_OK)
        code = fold_to(s, s->seq_end > old_seq ? s->seq_end : old_seq, err);
    if (code == SB_OK) /* nor since: the live view has passed what was still to be folded here */
        code = sb_view_history_whole(s->pg, s->definition->name, s->begun_seq, err);
    if (code == SB_OK)
        code = check_versions(s, err);
    if (code == SB_OK) /* with the switch: the last pages may have changed no row */
        code = flush_tally(s, err);
    if (code == SB_OK && s->fingerprint)
        return sb_view_generation_switch(s->pg, s->definition, s->fingerprint, s->generation, old_seq,
                                         s->lease->cursor, err);
    return code == SB_OK ? sb_view_generation_revive(s->pg, s->definition, s->shown, s->generation, old_seq,
                                                     s->lease->cursor, err)
                         : code;
}

static sb_code_t try_switch(sb_view_switch_t *s, sb_error_t *err)
{
    sb_code_t code = sb_pg_begin(s->pg, err);
    if (code == SB_OK)
        code = switch_locked(s, err);
    if (code != SB_OK) {
        sb_pg_rollback(s->pg);
        return code;
    }
    return sb_pg_commit(s->pg, err);
}

/* A commit whose answer was lost: the database says whether the switch took place. */
static sb_code_t find_out(sb_view_switch_t *s, sb_error_t *err)
{
    sb_view_generation_t live = {0};
    sb_error_t ignored = SB_ERROR_INIT;
    if (sb_pg_reopen(s->pg, &ignored) != SB_OK ||
        sb_view_generation_live(s->pg, s->definition->name, &live, &ignored) != SB_OK)
        return sb_context(err, SB_UNKNOWN_OUTCOME, "switch of view %s", s->definition->name);
    if (live.number == s->generation)
        return SB_OK;
    return sb_fail(err, SB_UNAVAILABLE, "view %s was not switched: the connection broke",
                   s->definition->name);
}

/* A reader with a long query holds its lock on the SQL view: try again rather than make everyone wait behind
 * us. */
sb_code_t sb_view_switch_live(sb_view_switch_t *s, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    int64_t until_us = sb_mono_us() + PATIENCE_MS * INT64_C(1000);
    for (uint32_t pause = 100; code == SB_OK; pause = pause < PAUSE_MAX_MS ? pause + 100 : pause) {
        sb_error_t cause = SB_ERROR_INIT;
        sb_view_switch_t before = *s;
        int64_t cursor = s->lease->cursor;
        sb_code_t tried = try_switch(s, &cause);
        if (tried == SB_OK)
            return SB_OK;
        if (tried == SB_UNKNOWN_OUTCOME)
            return find_out(s, err);
        if (!cause.retryable || !sb_pg_is_open(s->pg) || sb_mono_us() > until_us) {
            if (err)
                *err = cause;
            return sb_context(err, tried, "switch of view %s", s->definition->name);
        }
        sb_view_batch_free(&s->batch); /* what was folded in the transaction is undone with it */
        *s = before;
        s->batch = NULL;
        s->lease->cursor = cursor;
        sb_sleep_ms(pause);
        code = sb_view_switch_near(s, err);
        if (code == SB_OK)
            code = s->on_step(s->context, err);
    }
    return code;
}
