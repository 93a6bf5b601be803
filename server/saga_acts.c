/* What operators do: verbs on one saga or on many, and the record of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/act.h"
#include "saga/query/audit.h"
#include "server/body.h"
#include "server/handlers.h"

#include <stdio.h>

enum { REASON, STEP, RESULT, INPUT, PAUSE, VERSION, DRY_RUN, VERB, FILTER, LIMIT, CURSOR, MEMBERS };

/* An act as it came: its texts borrow from the body and from scratch. */
typedef struct asked {
    sb_member_t member[MEMBERS + 1];
    sb_saga_act_t act;
    bool dry_run;
    sb_buf_t scratch[4];
} asked_t;

static void fini_asked(asked_t *asked)
{
    for (int i = 0; i < 4; i++)
        sb_buf_fini(&asked->scratch[i]);
}

static sb_code_t read_number(const sb_member_t *member, int64_t high, int64_t *out, sb_error_t *err)
{
    char pointer[32];
    (void)snprintf(pointer, sizeof pointer, "/%s", member->name);
    if (!sb_member_is_there(member) || (sb_scan_int64(&member->value, out) && *out >= 1 && *out <= high))
        return SB_OK;
    return sb_fail_at(err, SB_INVALID, pointer, "%s must be a whole number from 1 to %lld", member->name,
                      (long long)high);
}

/* many: the members of an act on many are read too. */
static sb_code_t read_asked(const sb_request_t *request, bool many, asked_t *asked, sb_error_t *err)
{
    static const sb_member_t members[MEMBERS + 1] = {
        [REASON] = {"reason", "s", {0}},   [STEP] = {"step", "s", {0}},    [RESULT] = {"result", "o", {0}},
        [INPUT] = {"input", "o", {0}},     [PAUSE] = {"pause", "b", {0}},  [VERSION] = {"version", "n", {0}},
        [DRY_RUN] = {"dry_run", "b", {0}}, [VERB] = {"verb", "s", {0}},    [FILTER] = {"filter", "o", {0}},
        [LIMIT] = {"limit", "n", {0}},     [CURSOR] = {"cursor", "s", {0}}};
    int64_t version = 0;
    memcpy(asked->member, members, sizeof members);
    if (!many)
        asked->member[VERB].name = NULL;
    sb_code_t code = sb_body_read(request, asked->member, err);
    if (code == SB_OK)
        code = read_number(&asked->member[VERSION], 1000000, &version, err);
    if (code != SB_OK)
        return code;
    asked->dry_run = asked->member[DRY_RUN].value.kind == SB_SCAN_TRUE;
    asked->act.reason = sb_member_text(&asked->member[REASON], &asked->scratch[0]);
    asked->act.step = sb_member_text(&asked->member[STEP], &asked->scratch[1]);
    if (sb_member_is_there(&asked->member[RESULT]))
        asked->act.result = asked->member[RESULT].value.text;
    if (sb_member_is_there(&asked->member[INPUT]))
        asked->act.input = asked->member[INPUT].value.text;
    asked->act.pause = asked->member[PAUSE].value.kind == SB_SCAN_TRUE;
    asked->act.version = (int)version;
    asked->act.by = sb_slice(request->caller[0] ? request->caller : "anonymous");
    return SB_OK;
}

/* ---- one ---- */

static sb_code_t try_one(sb_worker_t *worker, sb_request_t *request, const sb_saga_act_t *act,
                         const sb_uuid_t *id, sb_error_t *err)
{
    char refusal[SB_SAGA_REFUSAL_MAX];
    sb_code_t code =
        sb_saga_act_try(worker->pg, worker->engine->catalog, act, id, refusal, sizeof refusal, err);
    if (code != SB_OK)
        return code;
    request->status = 200;
    sb_buf_add_text(&request->out, "{\"dry_run\":true,\"refusal\":");
    if (refusal[0])
        sb_buf_add_json(&request->out, sb_slice(refusal));
    else
        sb_buf_add_text(&request->out, "null");
    sb_buf_add_text(&request->out, "}\n");
    return SB_OK;
}

static sb_code_t act_on_one(sb_worker_t *worker, sb_request_t *request, const sb_saga_act_t *act,
                            const sb_uuid_t *id, sb_error_t *err)
{
    int64_t command_no = 0;
    sb_code_t code = sb_saga_act_one(worker->pg, act, id, &command_no, err);
    if (code == SB_OK)
        sb_buf_printf(&request->out,
                      "{\"command\":%lld,\"links\":{\"saga\":\"/v1/sagas/%.*s\",\"outcome\":"
                      "\"/v1/audit?command=%lld\"}}\n",
                      (long long)command_no, SB_SLICE_ARG(request->param[0]), (long long)command_no);
    return code;
}

sb_code_t sb_post_saga_verb(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    asked_t asked = {.dry_run = false};
    sb_uuid_t id;
    sb_code_t code = sb_request_saga(request, &id, err);
    if (code == SB_OK)
        code = read_asked(request, false, &asked, err);
    (void)sb_saga_verb_of(sb_slice(strrchr(request->route->pattern, '/') + 1), &asked.act.verb);
    if (code == SB_OK)
        code = sb_saga_act_check(&asked.act, err);
    if (code == SB_OK)
        code = asked.dry_run ? try_one(worker, request, &asked.act, &id, err)
                             : act_on_one(worker, request, &asked.act, &id, err);
    fini_asked(&asked);
    return code;
}

/* ---- many ---- */

static bool is_filter(sb_slice_t name)
{
    for (int i = 0; sb_saga_filter_names[i]; i++)
        if (sb_slice_is(name, sb_saga_filter_names[i]))
            return true;
    return false;
}

static sb_code_t refuse_filter(sb_slice_t name, sb_error_t *err)
{
    char known[256] = "";
    size_t at = 0;
    for (int i = 0; sb_saga_filter_names[i] && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", sb_saga_filter_names[i]);
    return sb_fail_at(err, SB_INVALID, "/filter", "filter has no member %.*s; there are: %s",
                      SB_SLICE_ARG(name), known);
}

/* Texts that had to be unescaped are kept in texts, which was given room for all of them. */
static sb_code_t read_filter_member(sb_slice_t name, const sb_scan_value_t *value, sb_saga_filter_t *filter,
                                    sb_buf_t *texts, sb_error_t *err)
{
    char known[32], pointer[48];
    sb_buf_t unescaped = SB_BUF_INIT;
    if (name.len < 2 || !is_filter((sb_slice_t){name.ptr + 1, name.len - 2}))
        return refuse_filter(name, err);
    (void)snprintf(known, sizeof known, "%.*s", (int)name.len - 2, name.ptr + 1);
    (void)snprintf(pointer, sizeof pointer, "/filter/%s", known);
    if (value->kind != SB_SCAN_STRING && value->kind != SB_SCAN_TRUE && value->kind != SB_SCAN_FALSE)
        return sb_fail_at(err, SB_INVALID, pointer, "%s must be text, or true or false", known);
    sb_slice_t text = value->kind == SB_SCAN_STRING ? sb_scan_string(value, &unescaped) : value->text;
    size_t at = texts->len;
    sb_buf_add_slice(texts, text);
    sb_buf_fini(&unescaped);
    sb_code_t code = sb_saga_filter_set(filter, known, (sb_slice_t){texts->ptr + at, texts->len - at}, err);
    if (code != SB_OK && err)
        (void)snprintf(err->pointer, sizeof err->pointer, "%s", pointer);
    return code;
}

static sb_code_t read_filter(const sb_member_t *member, sb_saga_filter_t *filter, sb_buf_t *texts,
                             sb_error_t *err)
{
    sb_scan_value_t name, value;
    size_t at = 0;
    sb_code_t code = SB_OK;
    if (!sb_member_is_there(member))
        return sb_fail_at(err, SB_INVALID, "/filter", "filter is missing: which sagas");
    if (!sb_buf_reserve(texts, member->value.text.len + 1)) /* they do not move */
        return sb_fail(err, SB_NO_MEMORY, "read a filter: out of memory");
    while (code == SB_OK && sb_scan_next(member->value.text, &at, &name, &value))
        code = read_filter_member(name.text, &value, filter, texts, err);
    return code;
}

static sb_code_t read_verb(const sb_member_t *member, sb_saga_input_kind_t *out, sb_error_t *err)
{
    sb_buf_t scratch = SB_BUF_INIT;
    bool known = sb_saga_verb_of(sb_member_text(member, &scratch), out);
    sb_buf_fini(&scratch);
    return known && *out != SB_SAGA_IN_UNDO
               ? SB_OK
               : sb_fail_at(err, SB_INVALID, "/verb",
                            "verb must be cancel, pause, resume, retry, rewind, skip, migrate or resolve");
}

sb_code_t sb_post_saga_bulk(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    asked_t asked = {.dry_run = false};
    sb_saga_many_t many = {.limit = 0};
    int64_t limit = SB_SAGA_ACT_MANY_MAX;
    sb_code_t code = read_asked(request, true, &asked, err);
    if (code == SB_OK)
        code = read_verb(&asked.member[VERB], &asked.act.verb, err);
    if (code == SB_OK)
        code = sb_saga_act_check(&asked.act, err);
    if (code == SB_OK)
        code = read_filter(&asked.member[FILTER], &many.filter, &asked.scratch[2], err);
    if (code == SB_OK)
        code = read_number(&asked.member[LIMIT], SB_SAGA_ACT_MANY_MAX, &limit, err);
    many.limit = (int)limit;
    many.cursor = sb_member_text(&asked.member[CURSOR], &asked.scratch[3]);
    if (code == SB_OK && asked.dry_run)
        request->status = 200;
    if (code == SB_OK)
        code = sb_saga_act_many(worker->pg, worker->engine->catalog, &asked.act, &many, asked.dry_run,
                                &request->out, err);
    fini_asked(&asked);
    return code;
}

/* ---- the record ---- */

sb_code_t sb_get_audit(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"saga", "act", "command", "limit", "cursor", NULL};
    const char *saga = sb_request_query(request, "saga");
    sb_audit_page_t page = {.cursor = sb_slice(sb_request_query(request, "cursor"))};
    sb_uuid_t id;
    int64_t limit = 0;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK && saga && !sb_uuid_parse(saga, strlen(saga), &id))
        code = sb_fail(err, SB_INVALID, "query parameter saga=%s: the id of a saga is wanted", saga);
    if (code == SB_OK)
        code = sb_request_query_int(request, "act", 1, INT64_MAX, 0, &page.act, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "command", 1, INT64_MAX, 0, &page.command, err);
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 500, 50, &limit, err);
    if (code != SB_OK)
        return code;
    page.saga = saga ? &id : NULL;
    page.limit = (int)limit;
    return sb_audit_list(worker->pg, &page, &request->out, err);
}
