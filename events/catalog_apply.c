/* Registers the files of a project: reads them all, then puts them in within one transaction, each checked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/builtin.h"
#include "events/catalog.h"
#include "events_sql.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct kind_row {
    const char *name;
    const char *folder;
    const char *member; /* of the file, that names it */
} kind_row_t;

static const kind_row_t kinds[SB_ARTIFACT_KINDS] = {
    [SB_ARTIFACT_EVENT] = {"event", "events", "type"},
    [SB_ARTIFACT_SAGA] = {"saga", "sagas", "saga"},
    [SB_ARTIFACT_VIEW] = {"view", "views", "view"},
};

/* A saga or a view may name event types, so those come first. */
static const sb_artifact_kind_t order[] = {SB_ARTIFACT_EVENT, SB_ARTIFACT_VIEW, SB_ARTIFACT_SAGA};

typedef struct draft {
    sb_artifact_kind_t kind;
    char path[512];
    json_t *body;
    char name[SB_TYPE_MAX + 1];
    int version;
    sb_buf_t text; /* canonical */
    sb_hash_t hash;
} draft_t;

static void draft_fini(draft_t *draft)
{
    json_decref(draft->body);
    sb_buf_fini(&draft->text);
}

/* ---- what a file must say of itself ---- */

static sb_code_t refuse(const draft_t *draft, const char *pointer, const char *why, sb_error_t *err)
{
    return sb_fail_at(err, SB_INVALID, pointer, "%s%s%s: %s", draft->path, pointer[0] ? ", at " : "", pointer,
                      why);
}

static sb_code_t read_name(draft_t *draft, sb_error_t *err)
{
    const char *member = kinds[draft->kind].member;
    char pointer[32];
    (void)snprintf(pointer, sizeof pointer, "/%s", member);
    const char *name = json_string_value(json_object_get(draft->body, member));
    if (!name || !name[0] || strlen(name) > SB_TYPE_MAX)
        return refuse(draft, pointer, "must be a name", err);
    (void)snprintf(draft->name, sizeof draft->name, "%s", name);
    return SB_OK;
}

static sb_code_t read_version(draft_t *draft, bool required, sb_error_t *err)
{
    const json_t *version = json_object_get(draft->body, "version");
    draft->version = 1;
    if (!version && !required)
        return SB_OK;
    if (!json_is_integer(version) || json_integer_value(version) < 1 || json_integer_value(version) > 10000)
        return refuse(draft, "/version", "must be an integer from 1", err);
    draft->version = (int)json_integer_value(version);
    return SB_OK;
}

static sb_code_t check_members(const draft_t *draft, sb_error_t *err)
{
    static const char *const known[] = {"$schema",     "type",   "version",  "title",
                                        "description", "schema", "x-upcast", NULL};
    const char *name;
    json_t *value;
    json_object_foreach(draft->body, name, value)
    {
        int i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        char pointer[100];
        (void)snprintf(pointer, sizeof pointer, "/%s", name);
        if (!known[i])
            return refuse(draft, pointer, "this member is not known", err);
    }
    return SB_OK;
}

/* A fault in a part of the file, with the pointer from the file's root. */
static sb_code_t refuse_part(const draft_t *draft, const char *part, sb_code_t code, const sb_error_t *why,
                             sb_error_t *err)
{
    char pointer[sizeof why->pointer + 16];
    (void)snprintf(pointer, sizeof pointer, "/%s%s", part, why->pointer);
    return sb_fail_at(err, code, pointer, "%s: %s", draft->path, why->message);
}

static sb_code_t check_schema(const draft_t *draft, sb_error_t *err)
{
    const json_t *schema = json_object_get(draft->body, "schema");
    sb_schema_t *compiled = NULL;
    sb_error_t why = SB_ERROR_INIT;
    if (!schema)
        return refuse(draft, "/schema", "is missing", err);
    sb_code_t code = sb_schema_compile(&compiled, schema, &why);
    sb_schema_free(&compiled);
    return code == SB_OK ? SB_OK : refuse_part(draft, "schema", code, &why, err);
}

static sb_code_t check_upcast(const draft_t *draft, sb_error_t *err)
{
    const json_t *declaration = json_object_get(draft->body, "x-upcast");
    sb_upcast_t *compiled = NULL;
    sb_error_t why = SB_ERROR_INIT;
    if (!declaration)
        return SB_OK;
    if (draft->version == 1)
        return refuse(draft, "/x-upcast", "there is no version before version 1", err);
    sb_code_t code = sb_upcast_compile(&compiled, declaration, &why);
    sb_upcast_free(&compiled);
    return code == SB_OK ? SB_OK : refuse_part(draft, "x-upcast", code, &why, err);
}

static sb_code_t check_event(draft_t *draft, sb_error_t *err)
{
    sb_code_t code = read_name(draft, err);
    if (code == SB_OK)
        code = read_version(draft, true, err);
    if (code == SB_OK)
        code = check_members(draft, err);
    if (code != SB_OK)
        return code;
    if (!sb_event_type_ok(sb_slice(draft->name)))
        return refuse(draft, "/type", "must be labels of a-z, 0-9, _ and - joined by dots", err);
    code = check_schema(draft, err);
    return code == SB_OK ? check_upcast(draft, err) : code;
}

/* The name in the file must be the file's, or two of them would claim the same place without a word. */
static sb_code_t check_file_name(const draft_t *draft, sb_error_t *err)
{
    char want[SB_TYPE_MAX + 32];
    const char *slash = strrchr(draft->path, '/');
    if (draft->kind == SB_ARTIFACT_EVENT)
        (void)snprintf(want, sizeof want, "%s.v%d.json", draft->name, draft->version);
    else
        (void)snprintf(want, sizeof want, "%s.json", draft->name);
    if (strcmp(slash ? slash + 1 : draft->path, want) == 0)
        return SB_OK;
    char why[300];
    char pointer[16];
    (void)snprintf(why, sizeof why, "names %s version %d, so the file must be called %s", draft->name,
                   draft->version, want);
    (void)snprintf(pointer, sizeof pointer, "/%s", kinds[draft->kind].member);
    return refuse(draft, pointer, why, err);
}

/* Fills name, version, text and hash from the body. */
static sb_code_t describe(draft_t *draft, sb_error_t *err)
{
    if (!json_is_object(draft->body))
        return refuse(draft, "", "must be a JSON object", err);
    sb_code_t code = SB_OK;
    if (draft->kind == SB_ARTIFACT_EVENT) {
        code = check_event(draft, err);
    } else {
        code = read_name(draft, err);
        if (code == SB_OK)
            code = read_version(draft, false, err);
    }
    if (code != SB_OK)
        return code;
    sb_json_dump(draft->body, &draft->text);
    if (sb_buf_failed(&draft->text))
        return sb_fail(err, SB_NO_MEMORY, "%s: out of memory", draft->path);
    sb_hash_bytes(sb_buf_slice(&draft->text), &draft->hash);
    return SB_OK;
}

/* ---- putting it in ---- */

typedef struct apply {
    sb_pg_t *pg;
    sb_catalog_t *staging; /* what the database holds within this transaction: for the checks only */
    const sb_artifact_check_fn *check;
    sb_apply_report_t report;
} apply_t;

static sb_code_t compare_hash(apply_t *apply, const draft_t *draft, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, kinds[draft->kind].name);
    sb_pg_add_text(&params, draft->name);
    sb_pg_add_int4(&params, draft->version);
    sb_code_t code = sb_pg_query(apply->pg, sb_sql_catalog_hash, &params, &rows, err);
    if (code != SB_OK)
        return code;
    sb_slice_t hash = {(const char *)draft->hash.byte, sizeof draft->hash.byte};
    if (sb_pg_rows(rows) != 1 || !sb_slice_equal(sb_pg_get_slice(rows, 0, 0), hash))
        code = sb_fail(err, SB_MISMATCH,
                       "%s: %s version %d is registered with other content; a version is never edited once "
                       "registered, make it version %d",
                       draft->path, draft->name, draft->version, draft->version + 1);
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t put_type(apply_t *apply, const draft_t *draft, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, draft->name);
    sb_pg_add_int4(&params, draft->version);
    return sb_pg_query(apply->pg, sb_sql_catalog_put_type, &params, NULL, err);
}

static sb_code_t put(apply_t *apply, const draft_t *draft, bool *added, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_slice_t hash = {(const char *)draft->hash.byte, sizeof draft->hash.byte};
    sb_pg_add_text(&params, kinds[draft->kind].name);
    sb_pg_add_text(&params, draft->name);
    sb_pg_add_int4(&params, draft->version);
    sb_pg_add_bytea(&params, hash);
    sb_pg_add_bytea(&params, sb_buf_slice(&draft->text));
    sb_code_t code = sb_pg_query(apply->pg, sb_sql_catalog_put, &params, &rows, err);
    if (code != SB_OK)
        return code;
    *added = sb_pg_rows(rows) == 1;
    sb_pg_result_free(rows);
    if (!*added)
        return compare_hash(apply, draft, err);
    return draft->kind == SB_ARTIFACT_EVENT ? put_type(apply, draft, err) : SB_OK;
}

static sb_code_t check_draft(apply_t *apply, const draft_t *draft, sb_error_t *err)
{
    sb_artifact_check_fn check = apply->check ? apply->check[draft->kind] : NULL;
    if (!check)
        return SB_OK;
    sb_code_t code = check(draft->body, apply->staging, err);
    return code == SB_OK ? SB_OK : sb_context(err, code, "%s", draft->path);
}

static sb_code_t apply_file(apply_t *apply, sb_artifact_kind_t kind, const char *path, sb_error_t *err)
{
    draft_t draft = {.kind = kind, .text = SB_BUF_INIT};
    bool added = false;
    (void)snprintf(draft.path, sizeof draft.path, "%s", path);
    sb_code_t code = sb_json_read_file(&draft.body, path, NULL, err);
    if (code == SB_OK)
        code = describe(&draft, err);
    if (code == SB_OK)
        code = check_file_name(&draft, err);
    if (code == SB_OK)
        code = check_draft(apply, &draft, err);
    if (code == SB_OK)
        code = put(apply, &draft, &added, err);
    if (code == SB_OK && added)
        apply->report.added++;
    else if (code == SB_OK)
        apply->report.unchanged++;
    draft_fini(&draft);
    return code;
}

/* Counted only when it is new: mostly the files have it too. */
static sb_code_t apply_builtin(apply_t *apply, const char *text, sb_error_t *err)
{
    draft_t draft = {.kind = SB_ARTIFACT_EVENT, .path = "a built-in event type", .text = SB_BUF_INIT};
    bool added = false;
    sb_code_t code = sb_json_parse(&draft.body, sb_slice(text), draft.path, err);
    if (code == SB_OK)
        code = describe(&draft, err);
    if (code == SB_OK)
        code = put(apply, &draft, &added, err);
    apply->report.added += code == SB_OK && added;
    draft_fini(&draft);
    return code;
}

static int is_json(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

static sb_code_t apply_folder(apply_t *apply, sb_artifact_kind_t kind, const char *dir, sb_error_t *err)
{
    char folder[400];
    struct dirent **list = NULL;
    (void)snprintf(folder, sizeof folder, "%s/%s", dir, kinds[kind].folder);
    int count = scandir(folder, &list, is_json, alphasort);
    if (count < 0)
        return errno == ENOENT ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "read %s: %s", folder, strerror(errno));
    sb_code_t code = SB_OK;
    for (int i = 0; i < count; i++) {
        char path[400 + sizeof list[i]->d_name];
        (void)snprintf(path, sizeof path, "%s/%s", folder, list[i]->d_name);
        if (code == SB_OK)
            code = apply_file(apply, kind, path, err);
        free(list[i]);
    }
    free(list);
    return code;
}

static sb_code_t apply_all(apply_t *apply, const char *dir, sb_error_t *err)
{
    sb_code_t code = sb_pg_query(apply->pg, sb_sql_catalog_lock, NULL, NULL, err);
    for (size_t i = 0; code == SB_OK && i < sizeof order / sizeof *order; i++) {
        code = apply_folder(apply, order[i], dir, err);
        if (order[i] != SB_ARTIFACT_EVENT)
            continue;
        for (int k = 0; code == SB_OK && sb_builtin_schemas[k]; k++)
            code = apply_builtin(apply, sb_builtin_schemas[k], err);
        if (code == SB_OK)
            code = sb_catalog_load(apply->staging, apply->pg, err);
    }
    return code;
}

sb_code_t sb_catalog_apply(sb_catalog_t *catalog, sb_pg_t *pg, const char *dir,
                           const sb_artifact_check_fn check[SB_ARTIFACT_KINDS], sb_apply_report_t *report,
                           sb_error_t *err)
{
    apply_t apply = {.pg = pg, .check = check};
    struct stat is;
    *report = apply.report;
    if (stat(dir, &is) != 0 || !S_ISDIR(is.st_mode))
        return sb_fail(err, SB_NOT_FOUND, "%s: no such directory", dir);
    /* A catalog of its own for the checks: what is read here may still be rolled back. */
    sb_code_t code = sb_catalog_new(&apply.staging, err);
    if (code == SB_OK)
        code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = apply_all(&apply, dir, err);
    if (code == SB_OK)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK)
        sb_pg_rollback(pg);
    sb_catalog_free(&apply.staging);
    if (code != SB_OK)
        return code;
    *report = apply.report;
    return sb_catalog_load(catalog, pg, err);
}
