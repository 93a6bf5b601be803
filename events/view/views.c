/* A service's own projector and replay: those of the daemon, with the functions of this process in their
 * catalog.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include <stdlib.h>

struct sb_views {
    char *pg_uri;
    char *owner;
    bool all;
    sb_catalog_t *catalog;
    sb_projector_t *projector;
};

sb_code_t sb_views_open(sb_views_t **out, const sb_views_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_views_t *views = calloc(1, sizeof *views);
    if (!views)
        return sb_fail(err, SB_NO_MEMORY, "views: out of memory");
    views->pg_uri = strdup(config->pg_uri ? config->pg_uri : "");
    views->owner = strdup(config->owner ? config->owner : "service");
    views->all = config->all;
    sb_code_t code = views->pg_uri && views->owner ? sb_catalog_new(&views->catalog, err)
                                                   : sb_fail(err, SB_NO_MEMORY, "views: out of memory");
    const sb_projector_config_t projector = {.pg_uri = views->pg_uri,
                                             .owner = views->owner,
                                             .catalog = views->catalog,
                                             .batch_events = config->batch_events,
                                             .idle_ms = config->idle_ms,
                                             .calls_only = !config->all};
    if (code == SB_OK)
        code = sb_projector_open(&views->projector, &projector, err);
    if (code != SB_OK)
        sb_views_close(&views);
    *out = views;
    return code;
}

void sb_views_close(sb_views_t **views)
{
    sb_views_t *v = *views;
    if (!v)
        return;
    sb_projector_close(&v->projector);
    sb_catalog_free(&v->catalog);
    free(v->owner);
    free(v->pg_uri);
    free(v);
    *views = NULL;
}

sb_code_t sb_views_fold(sb_views_t *views, const char *name, sb_fold_fn fn, void *context, sb_error_t *err)
{
    return sb_catalog_fold(views->catalog, name, fn, context, err);
}

sb_code_t sb_views_upcast(sb_views_t *views, const char *type, int version, sb_upcast_fn fn, void *context,
                          sb_error_t *err)
{
    return sb_catalog_upcast(views->catalog, type, version, fn, context, err);
}

void sb_views_run(sb_views_t *views)
{
    sb_projector_run(views->projector);
}

void sb_views_stop(sb_views_t *views)
{
    sb_projector_stop(views->projector);
}

void sb_views_stats(const sb_views_t *views, sb_views_stats_t *out)
{
    sb_projector_stats(views->projector, out);
}

static sb_replay_config_t config_of(const sb_views_t *views)
{
    return (sb_replay_config_t){
        .pg_uri = views->pg_uri, .owner = views->owner, .catalog = views->catalog, .calls_only = !views->all};
}

sb_code_t sb_views_replay(sb_views_t *views, const sb_views_replay_t *replay, sb_replay_report_t *report,
                          sb_error_t *err)
{
    sb_replay_config_t config = config_of(views);
    config.view = replay->view;
    config.mode = replay->mode;
    config.diff = replay->diff;
    config.differences_max = replay->differences_max;
    config.keep_old = replay->keep_old;
    config.until_seq = replay->until_seq;
    config.jobs = replay->jobs;
    config.memory_bytes = replay->memory_bytes;
    config.on_progress = replay->on_progress;
    config.on_difference = replay->on_difference;
    config.context = replay->context;
    return sb_replay_run(&config, report, err);
}

sb_code_t sb_views_rollback(sb_views_t *views, const char *view, int64_t generation,
                            sb_replay_report_t *report, sb_error_t *err)
{
    sb_replay_config_t config = config_of(views);
    config.view = view;
    return sb_view_rollback(&config, generation, report, err);
}
