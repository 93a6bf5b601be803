/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/act.h"

#include "base/clock.h"
#include "base/scan.h"
#include "events/saga_number.h"
#include "saga/migrate.h"
#include "saga/query/render.h"
#include "saga/query/story.h"
#include "saga_sql.h"

#include <stdio.h>

/* ---- checking ---- */

static sb_code_t check_belongs(bool there, bool belongs, const char *pointer, const char *verb,
                               sb_error_t *err)
{
    if (!there || belongs)
        return SB_OK;
    return sb_fail_at(err, SB_INVALID, pointer, "%s is not for %s", pointer + 1, verb);
}

sb_code_t sb_saga_act_check(const sb_saga_act_t *act, sb_error_t *err)
{
    const char *verb = sb_saga_verb_name(act->verb);
    bool retry = act->verb == SB_SAGA_IN_RETRY, rewind = act->verb == SB_SAGA_IN_REWIND,
         skip = act->verb == SB_SAGA_IN_SKIP, migrate = act->verb == SB_SAGA_IN_MIGRATE;
    if (act->verb == SB_SAGA_IN_UNDO)
        return sb_fail_at(err, SB_INVALID, "/verb", "undo is for the saga that this one is a step of");
    if (act->reason.len == 0)
        return sb_fail_at(err, SB_INVALID, "/reason",
                          "reason is missing: the record of who did what also says why");
    if (!act->step.ptr && (rewind || skip))
        return sb_fail_at(err, SB_INVALID, "/step", "step is missing: which one to %s",
                          skip ? "skip" : "go back to");
    if (!act->step.ptr && act->input.ptr)
        return sb_fail_at(err, SB_INVALID, "/step", "step is missing: another input is for one step");
    if (migrate && act->version < 1)
        return sb_fail_at(err, SB_INVALID, "/version", "version is missing: of the definition to go on by");
    sb_code_t code = check_belongs(act->step.ptr != NULL, retry || rewind || skip, "/step", verb, err);
    if (code == SB_OK)
        code = check_belongs(act->input.ptr != NULL, retry || rewind, "/input", verb, err);
    if (code == SB_OK)
        code = check_belongs(act->result.ptr != NULL, skip, "/result", verb, err);
    if (code == SB_OK)
        code = check_belongs(act->pause, rewind, "/pause", verb, err);
    return code == SB_OK ? check_belongs(act->version != 0, migrate, "/version", verb, err) : code;
}

/* ---- writing ---- */

static void write_body(const sb_saga_act_t *act, sb_buf_t *out)
{
    sb_render_open(out, NULL, '{');
    if (act->step.ptr)
        sb_render_text(out, "step", act->step);
    if (act->result.ptr || act->verb == SB_SAGA_IN_SKIP)
        sb_render_raw(out, "result", act->result.ptr ? act->result : SB_SLICE("{}"));
    if (act->input.ptr)
        sb_render_raw(out, "input", act->input);
    if (act->pause)
        sb_render_bool(out, "pause", true);
    if (act->version)
        sb_render_int(out, "version", act->version);
    sb_render_close(out, '}');
}

sb_code_t sb_saga_act_one(sb_pg_t *pg, const sb_saga_act_t *act, const sb_uuid_t *id, int64_t *command_no,
                          sb_error_t *err)
{
    int64_t no = 0;
    char text[SB_UUID_TEXT];
    sb_buf_t body = SB_BUF_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    (void)sb_saga_number_of(id, &no);
    write_body(act, &body);
    sb_pg_add_int8(&params, no);
    sb_pg_add_uuid(&params, id);
    sb_pg_add_text(&params, sb_saga_verb_name(act->verb));
    sb_pg_add_slice(&params, sb_buf_slice(&body));
    sb_pg_add_slice(&params, act->by);
    sb_pg_add_slice(&params, act->reason);
    sb_code_t code = sb_buf_failed(&body) ? sb_fail(err, SB_NO_MEMORY, "act on a saga: out of memory")
                                          : sb_pg_query(pg, sb_sql_saga_act_add, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no saga has the id %s", sb_uuid_format(id, text));
    if (code == SB_OK)
        *command_no = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    sb_buf_fini(&body);
    return code;
}

/* ---- trying ---- */

static const char *try_machine(const sb_story_t *story, const sb_saga_act_t *act, char text[SB_NO_STEP_TEXT])
{
    sb_decision_t decision;
    sb_saga_input_t input = {.kind = act->verb,
                             .step = -1,
                             .result = act->result,
                             .input = act->input,
                             .pause = act->pause,
                             .by = act->by,
                             .reason = act->reason};
    if (act->step.ptr) {
        input.step = sb_definition_step(story->definition, act->step);
        if (input.step < 0)
            return sb_definition_no_step(story->definition, text);
    }
    sb_machine_decide(story->definition, &story->state, &input, sb_wall_us(), &decision, NULL);
    return decision.refused ? decision.refusal : "";
}

/* why: the refusal, with a code that is not SB_OK; or SB_OK. */
static sb_code_t try_migration(sb_story_t *story, const sb_saga_act_t *act, sb_error_t *why)
{
    sb_definition_t *to = NULL;
    const sb_artifact_t *artifact =
        sb_catalog_artifact(story->catalog, SB_ARTIFACT_SAGA, story->type, act->version);
    if (!artifact)
        return sb_fail(why, SB_NOT_FOUND, "no version %d of saga %.*s is registered", act->version,
                       SB_SLICE_ARG(story->type));
    sb_code_t code = sb_definition_compile(&to, artifact->body, why);
    if (code == SB_OK)
        code = sb_saga_may_migrate(story->definition, to, &story->state, story->input, why);
    sb_definition_free(&to);
    return code;
}

sb_code_t sb_saga_act_try(sb_pg_t *pg, sb_catalog_t *catalog, const sb_saga_act_t *act, const sb_uuid_t *id,
                          char *refusal, size_t refusal_size, sb_error_t *err)
{
    sb_story_t *story = NULL;
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = sb_story_read(&story, pg, catalog, id, err);
    if (code != SB_OK)
        return code;
    char text[SB_NO_STEP_TEXT];
    const char *refused = try_machine(story, act, text);
    if (!refused[0] && act->verb == SB_SAGA_IN_MIGRATE && try_migration(story, act, &why) != SB_OK)
        refused = why.message;
    (void)snprintf(refusal, refusal_size, "%s", refused);
    sb_story_free(&story);
    return SB_OK;
}

/* ---- many ---- */

static void write_filter(const sb_saga_filter_t *filter, sb_buf_t *out)
{
    const struct {
        const char *name;
        sb_slice_t text;
    } texts[] = {{"type", filter->type},
                 {"key", filter->key},
                 {"step", filter->step},
                 {"participant", filter->participant},
                 {"error", filter->error}};
    sb_render_open(out, "filter", '{');
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].text.ptr)
            sb_render_text(out, texts[i].name, texts[i].text);
    if (filter->status)
        sb_render_text(out, "status", sb_slice(sb_saga_status_name((sb_saga_status_t)filter->status)));
    char print[20];
    (void)snprintf(print, sizeof print, "%016llx", (unsigned long long)filter->fingerprint);
    if (filter->fingerprint)
        sb_render_text(out, "fingerprint", sb_slice(print));
    if (filter->attention_only)
        sb_render_bool(out, "attention", true);
    if (filter->paused_only)
        sb_render_bool(out, "paused", true);
    if (filter->from_us)
        sb_render_time(out, "started_after", filter->from_us);
    if (filter->to_us)
        sb_render_time(out, "started_before", filter->to_us);
    sb_render_close(out, '}');
}

/* What the record keeps of it: the act (as body has it), the filter, where it went on, and how many it found.
 */
static void write_detail(sb_slice_t body, const sb_saga_page_t *page, int matched, sb_buf_t *out)
{
    sb_render_open(out, NULL, '{');
    sb_render_raw(out, "act", body);
    write_filter(&page->filter, out);
    if (page->cursor.ptr)
        sb_render_text(out, "cursor", page->cursor);
    sb_render_int(out, "matched", matched);
    sb_render_close(out, '}');
}

static sb_code_t add_many(sb_pg_t *pg, const sb_saga_act_t *act, const sb_saga_page_t *page,
                          const sb_pg_result_t *found, int count, int64_t *audit_no, sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_buf_t body = SB_BUF_INIT, detail = SB_BUF_INIT;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    for (int row = 0; row < count; row++)
        sb_pg_array_add_int8(&numbers, sb_pg_get_int(found, row, 0));
    write_body(act, &body);
    write_detail(sb_buf_slice(&body), page, count, &detail);
    sb_pg_add_array(&params, &numbers);
    sb_pg_add_text(&params, sb_saga_verb_name(act->verb));
    sb_pg_add_slice(&params, sb_buf_slice(&body));
    sb_pg_add_slice(&params, act->by);
    sb_pg_add_slice(&params, act->reason);
    sb_pg_add_slice(&params, sb_buf_slice(&detail));
    sb_code_t code = sb_buf_failed(&body) || sb_buf_failed(&detail)
                         ? sb_fail(err, SB_NO_MEMORY, "act on sagas: out of memory")
                         : sb_pg_query(pg, sb_sql_saga_act_many, &params, &rows, err);
    if (code == SB_OK)
        *audit_no = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    sb_pg_array_fini(&numbers);
    sb_buf_fini(&body);
    sb_buf_fini(&detail);
    return code;
}

static sb_code_t write_items(sb_pg_t *pg, sb_catalog_t *catalog, const sb_saga_act_t *act,
                             const sb_pg_result_t *rows, int count, bool dry_run, sb_buf_t *out,
                             sb_error_t *err)
{
    sb_code_t code = SB_OK;
    sb_render_open(out, "items", '[');
    for (int row = 0; row < count && code == SB_OK; row++) {
        char refusal[SB_SAGA_REFUSAL_MAX] = "";
        sb_uuid_t id = sb_pg_get_uuid(rows, row, 1);
        if (dry_run)
            code = sb_saga_act_try(pg, catalog, act, &id, refusal, sizeof refusal, err);
        if (code == SB_CORRUPT) { /* one that is stuck hides no other */
            (void)snprintf(refusal, sizeof refusal, "the saga cannot be driven; see the log");
            sb_error_clear(err);
            code = SB_OK;
        }
        sb_render_open(out, NULL, '{');
        sb_saga_write_row(out, rows, row);
        if (dry_run)
            sb_render_text(out, "refusal", refusal[0] ? sb_slice(refusal) : SB_SLICE_NONE);
        sb_render_close(out, '}');
    }
    sb_render_close(out, ']');
    return code;
}

sb_code_t sb_saga_act_many(sb_pg_t *pg, sb_catalog_t *catalog, const sb_saga_act_t *act,
                           const sb_saga_many_t *many, bool dry_run, sb_buf_t *out, sb_error_t *err)
{
    sb_saga_page_t page = {
        .filter = many->filter, .oldest_first = true, .limit = many->limit, .cursor = many->cursor};
    sb_pg_result_t *rows = NULL;
    int64_t audit_no = 0;
    page.filter.open_only = true;
    if (!sb_saga_filter_asks(&many->filter))
        return sb_fail_at(err, SB_INVALID, "/filter", "filter is empty: that would be every open saga");
    if (many->filter.status && many->filter.status != SB_SAGA_STARTED &&
        many->filter.status != SB_SAGA_COMPENSATING)
        return sb_fail_at(err, SB_INVALID, "/filter/status",
                          "acts are on open sagas: status must be started or compensating");
    sb_code_t code = sb_saga_select(pg, &page, &rows, err);
    int count = code == SB_OK ? sb_pg_rows(rows) : 0;
    bool more = count > many->limit;
    count = more ? many->limit : count;
    if (code == SB_OK && !dry_run && count > 0)
        code = add_many(pg, act, &page, rows, count, &audit_no, err);
    if (code == SB_OK) {
        sb_render_open(out, NULL, '{');
        sb_render_bool(out, "dry_run", dry_run);
        sb_render_text(out, "verb", sb_slice(sb_saga_verb_name(act->verb)));
        sb_render_int(out, "matched", count);
        sb_render_bool(out, "more", more);
        sb_saga_write_next(out, &page, rows);
        if (audit_no)
            sb_render_int(out, "act", audit_no);
        else
            sb_render_raw(out, "act", SB_SLICE_NONE);
        code = write_items(pg, catalog, act, rows, count, dry_run, out, err);
        sb_render_close(out, '}');
    }
    sb_pg_result_free(rows);
    return code == SB_OK && sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "act on sagas: out of memory")
                                               : code;
}
