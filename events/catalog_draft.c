/* Reads the files of a project and checks each by itself.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog_draft.h"

#include "events/builtin.h"

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
    [SB_ARTIFACT_SUBSCRIPTION] = {"subscription", "subscriptions", "subscription"},
};

const char *draft_kind_name(sb_artifact_kind_t kind)
{
    return kinds[kind].name;
}

static void draft_free(draft_t *draft)
{
    if (!draft)
        return;
    json_decref(draft->body);
    sb_buf_fini(&draft->text);
    free(draft);
}

void drafts_fini(drafts_t *drafts)
{
    for (int i = 0; i < drafts->count; i++)
        draft_free(drafts->at[i]);
    free(drafts->at);
    *drafts = (drafts_t){NULL, 0};
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
    const json_t *value = json_object_get(draft->body, member);
    const char *name = json_string_value(value);
    if (!value)
        return refuse(draft, pointer, "is missing", err);
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
    if (!version)
        return refuse(draft, "/version", "is missing", err);
    if (!json_is_integer(version) || json_integer_value(version) < 1 || json_integer_value(version) > 10000)
        return refuse(draft, "/version", "must be an integer from 1 to 10000", err);
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

/* ---- all of them ---- */

/* NULL: out of memory. */
static draft_t *new_draft(drafts_t *drafts, sb_artifact_kind_t kind, const char *path)
{
    draft_t **at = realloc(drafts->at, (size_t)(drafts->count + 1) * sizeof(draft_t *));
    if (at)
        drafts->at = at;
    draft_t *draft = at ? calloc(1, sizeof *draft) : NULL;
    if (!draft)
        return NULL;
    draft->kind = kind;
    (void)snprintf(draft->path, sizeof draft->path, "%s", path);
    drafts->at[drafts->count++] = draft;
    return draft;
}

static sb_code_t read_draft(draft_t *draft, sb_error_t *err)
{
    sb_code_t code = sb_json_read_file(&draft->body, draft->path, NULL, err);
    if (code == SB_OK)
        code = describe(draft, err);
    return code == SB_OK ? check_file_name(draft, err) : code;
}

/* A file with a fault is told of and left out; without a listener it ends the reading. */
static sb_code_t add_file(drafts_t *drafts, sb_artifact_kind_t kind, const char *path,
                          const draft_faults_t *faults, sb_error_t *err)
{
    draft_t *draft = new_draft(drafts, kind, path);
    sb_error_t why = SB_ERROR_INIT;
    if (!draft)
        return sb_fail(err, SB_NO_MEMORY, "%s: out of memory", path);
    sb_code_t code = read_draft(draft, &why);
    if (code == SB_OK)
        return SB_OK;
    if (code != SB_NO_MEMORY && faults) {
        faults->on_fault(faults->context, code, draft->path, why.pointer, why.message);
        draft_free(draft);
        drafts->count--;
        return SB_OK;
    }
    if (err)
        *err = why;
    return code;
}

static int is_json(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

static sb_code_t add_folder(drafts_t *drafts, sb_artifact_kind_t kind, const char *dir,
                            const draft_faults_t *faults, sb_error_t *err)
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
            code = add_file(drafts, kind, path, faults, err);
        free(list[i]);
    }
    free(list);
    return code;
}

sb_code_t drafts_add_builtin(drafts_t *drafts, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int k = 0; code == SB_OK && sb_builtin_schemas[k]; k++) {
        draft_t *draft = new_draft(drafts, SB_ARTIFACT_EVENT, "a built-in event type");
        if (!draft)
            return sb_fail(err, SB_NO_MEMORY, "built-in event types: out of memory");
        code = sb_json_parse(&draft->body, sb_slice(sb_builtin_schemas[k]), draft->path, err);
        if (code == SB_OK)
            code = describe(draft, err);
        draft->builtin = true;
    }
    return code;
}

/* Events before views, sagas and subscriptions, because those name these; then by name and version, the files
 * before what is built in. */
static int compare(const void *a, const void *b)
{
    static const int places[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_EVENT] = 0,
                                                  [SB_ARTIFACT_VIEW] = 1,
                                                  [SB_ARTIFACT_SAGA] = 2,
                                                  [SB_ARTIFACT_SUBSCRIPTION] = 3};
    const draft_t *x = *(draft_t *const *)a;
    const draft_t *y = *(draft_t *const *)b;
    int order = places[x->kind] - places[y->kind];
    if (order == 0)
        order = strcmp(x->name, y->name);
    if (order == 0)
        order = x->version - y->version;
    return order ? order : (int)x->builtin - (int)y->builtin;
}

sb_code_t drafts_read(drafts_t *drafts, const char *dir, const draft_faults_t *faults, sb_error_t *err)
{
    static const sb_artifact_kind_t order[] = {SB_ARTIFACT_EVENT, SB_ARTIFACT_VIEW, SB_ARTIFACT_SAGA,
                                               SB_ARTIFACT_SUBSCRIPTION};
    struct stat is;
    if (stat(dir, &is) != 0 || !S_ISDIR(is.st_mode))
        return sb_fail(err, SB_NOT_FOUND,
                       "%s: no such directory (name the one with events, sagas, views and subscriptions; "
                       "default: schemas.dir)",
                       dir);
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < sizeof order / sizeof *order; i++)
        code = add_folder(drafts, order[i], dir, faults, err);
    return code;
}

void drafts_sort(drafts_t *drafts)
{
    if (drafts->count > 0)
        qsort(drafts->at, (size_t)drafts->count, sizeof(draft_t *), compare);
}
