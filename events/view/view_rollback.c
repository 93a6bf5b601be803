/* The generation before, live again. It is brought to the end of the history by batches first, as the live
 * one is, so that readers do not go back in time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "events/view/view.h"
#include "events/view/view_switch.h"

#include <inttypes.h>

#define NEVER_MS (INT64_C(10) * 366 * 86400 * 1000)

typedef struct rollback {
    const sb_replay_config_t *config;
    sb_pg_t *pg;
    sb_lease_t lease;
    sb_view_old_generation_t old;
    sb_view_definition_t *definition; /* of the old one */
    sb_view_definition_t *shown;      /* of the live one */
    sb_view_switch_t s;
} rollback_t;

static sb_code_t on_step(void *context, sb_error_t *err)
{
    const rollback_t *r = context;
    const sb_replay_progress_t progress = {.view = r->config->view,
                                           .phase = SB_REPLAY_CATCH_UP,
                                           .events = r->s.events,
                                           .rows = r->s.rows,
                                           .seq = r->lease.cursor,
                                           .seq_end = r->s.seq_end};
    return r->config->on_progress ? r->config->on_progress(r->config->context, &progress, err) : SB_OK;
}

static sb_code_t hold(rollback_t *r, sb_error_t *err)
{
    const char *owner = r->config->owner ? r->config->owner : "rollback";
    char role[SB_LEASE_ROLE_MAX];
    sb_view_replay_role(role, r->config->view);
    sb_lease_init(&r->lease, role);
    sb_code_t code = sb_lease_acquire(&r->lease, r->pg, owner, NEVER_MS, err);
    return code == SB_BUSY ? sb_fail(err, SB_BUSY, "a replay of view %s is running", r->config->view) : code;
}

static sb_code_t find(rollback_t *r, int64_t generation, sb_error_t *err)
{
    const char *view = r->config->view;
    sb_view_generation_t live = {0};
    sb_code_t code = sb_catalog_load(r->config->catalog, r->pg, err);
    if (code == SB_OK)
        code = sb_view_generation_live(r->pg, view, &live, err);
    if (code == SB_OK)
        code = sb_view_generation_old(r->pg, view, generation, &r->old, err);
    if (code == SB_OK && r->old.number == 0)
        return sb_fail(err, SB_NOT_FOUND, "view %s has no %sgeneration to go back to", view,
                       generation ? "such " : "");
    if (code == SB_OK)
        code =
            sb_view_registered(r->config->catalog, sb_slice(view), r->old.version, &r->definition, NULL, err);
    if (code == SB_OK)
        code = sb_view_foldable(r->definition, err);
    if (code == SB_OK)
        code = sb_view_registered(r->config->catalog, sb_slice(view), live.version, &r->shown, NULL, err);
    r->lease.cursor = r->old.seq;
    return code;
}

static sb_code_t go_back(rollback_t *r, int64_t generation, sb_error_t *err)
{
    sb_code_t code = hold(r, err);
    if (code == SB_OK)
        code = find(r, generation, err);
    if (code != SB_OK)
        return code;
    r->s = (sb_view_switch_t){.pg = r->pg,
                              .catalog = r->config->catalog,
                              .lease = &r->lease,
                              .definition = r->definition,
                              .shown = r->shown,
                              .generation = r->old.number,
                              .begun_seq = r->old.seq,
                              .on_step = on_step,
                              .context = r};
    code = sb_view_batch_count(r->pg, r->definition, r->old.number, r->old.seq, err);
    if (code == SB_OK)
        code = sb_view_switch_near(&r->s, err);
    if (code == SB_OK)
        code = sb_view_switch_live(&r->s, err);
    return code;
}

sb_code_t sb_view_rollback(const sb_replay_config_t *config, int64_t generation, sb_replay_report_t *report,
                           sb_error_t *err)
{
    rollback_t r = {.config = config};
    int64_t start_us = sb_mono_us();
    sb_pg_config_t pg = {.uri = config->pg_uri,
                         .application_name = "sagabus-replay",
                         .idle_in_transaction_ms = 60000,
                         .statement_timeout_ms = UINT32_MAX};
    sb_code_t code = sb_pg_open(&r.pg, &pg, err);
    if (code == SB_OK)
        code = go_back(&r, generation, err);
    if (code == SB_OK) {
        *report = (sb_replay_report_t){.version = r.old.version,
                                       .generation = r.old.number,
                                       .live = true,
                                       .seq = r.lease.cursor,
                                       .events = r.s.events,
                                       .rows = r.s.rows,
                                       .parked = r.s.parked,
                                       .seconds = (double)(sb_mono_us() - start_us) / 1e6};
        sb_log(SB_LOG_INFO, "VIEW-ROLLBACK", "switched back|view=%s generation=%" PRId64, config->view,
               r.old.number);
    }
    sb_view_switch_fini(&r.s);
    if (r.pg && r.lease.epoch)
        sb_lease_release(&r.lease, r.pg);
    sb_lease_fini(&r.lease);
    sb_view_definition_free(&r.definition);
    sb_view_definition_free(&r.shown);
    sb_pg_close(&r.pg);
    return code;
}
