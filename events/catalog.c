/* What is registered, kept in memory: each kind sorted by name and version. Entries are made outside the lock
 * and never change or go away, so the lock guards the lists alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"

#include "events_sql.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct entry {
    sb_artifact_t artifact;
    sb_event_type_t type; /* of an event; type_no 0: of another kind */
    char *name;
    json_t *body;
    sb_schema_t *schema;
} entry_t;

typedef struct entries {
    entry_t **at;
    int count;
    int cap;
} entries_t;

struct sb_catalog {
    pthread_rwlock_t lock;
    entries_t kind[SB_ARTIFACT_KINDS]; /* sorted by name, version */
    entries_t by_type_no;              /* at[type_no], NULL where there is none */
};

static const char *const kind_names[SB_ARTIFACT_KINDS] = {"event", "saga", "view"};

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "catalog: out of memory");
}

/* Look-ups take a const catalog: what they change is the lock only. */
static void lock_read(const sb_catalog_t *catalog)
{
    (void)pthread_rwlock_rdlock(&((sb_catalog_t *)(uintptr_t)catalog)->lock);
}

static void unlock(const sb_catalog_t *catalog)
{
    (void)pthread_rwlock_unlock(&((sb_catalog_t *)(uintptr_t)catalog)->lock);
}

sb_code_t sb_catalog_new(sb_catalog_t **out, sb_error_t *err)
{
    *out = NULL;
    sb_catalog_t *catalog = calloc(1, sizeof *catalog);
    if (!catalog)
        return no_memory(err);
    if (pthread_rwlock_init(&catalog->lock, NULL) != 0) {
        free(catalog);
        return no_memory(err);
    }
    *out = catalog;
    return SB_OK;
}

static void free_entry(entry_t *entry)
{
    if (!entry)
        return;
    sb_schema_free(&entry->schema);
    json_decref(entry->body);
    free(entry->name);
    free(entry);
}

void sb_catalog_free(sb_catalog_t **catalog)
{
    sb_catalog_t *c = *catalog;
    if (!c)
        return;
    for (int kind = 0; kind < SB_ARTIFACT_KINDS; kind++) {
        for (int i = 0; i < c->kind[kind].count; i++)
            free_entry(c->kind[kind].at[i]);
        free(c->kind[kind].at);
    }
    free(c->by_type_no.at);
    (void)pthread_rwlock_destroy(&c->lock);
    free(c);
    *catalog = NULL;
}

/* ---- the sorted lists ---- */

static bool grow(entries_t *list, int need)
{
    if (need <= list->cap)
        return true;
    int cap = need * 2 + 16;
    entry_t **at = realloc(list->at, (size_t)cap * sizeof(entry_t *));
    if (!at)
        return false;
    memset(at + list->cap, 0, (size_t)(cap - list->cap) * sizeof(entry_t *));
    list->at = at;
    list->cap = cap;
    return true;
}

static int compare(const entry_t *entry, sb_slice_t name, int version)
{
    size_t length = strlen(entry->name);
    size_t shorter = length < name.len ? length : name.len;
    int order = shorter ? memcmp(entry->name, name.ptr, shorter) : 0;
    if (order == 0)
        order = (length > name.len) - (length < name.len);
    return order ? order : (entry->artifact.version > version) - (entry->artifact.version < version);
}

/* Index of the first entry that is not before (name, version). */
static int lower_bound(const entries_t *list, sb_slice_t name, int version)
{
    int low = 0;
    int high = list->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (compare(list->at[middle], name, version) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* version 0: the newest. Under the lock. */
static entry_t *find(const entries_t *list, sb_slice_t name, int version)
{
    int at = lower_bound(list, name, version ? version : INT32_MAX);
    if (version)
        return at < list->count && compare(list->at[at], name, version) == 0 ? list->at[at] : NULL;
    return at > 0 && sb_slice_equal(sb_slice(list->at[at - 1]->name), name) ? list->at[at - 1] : NULL;
}

static bool insert(sb_catalog_t *catalog, entry_t *entry)
{
    entries_t *list = &catalog->kind[entry->artifact.kind];
    entries_t *numbers = &catalog->by_type_no;
    if (!grow(list, list->count + 1) || !grow(numbers, entry->type.type_no + 1))
        return false;
    int at = lower_bound(list, sb_slice(entry->name), entry->artifact.version);
    memmove(list->at + at + 1, list->at + at, (size_t)(list->count - at) * sizeof(entry_t *));
    list->at[at] = entry;
    list->count++;
    if (entry->type.type_no > 0)
        numbers->at[entry->type.type_no] = entry;
    return true;
}

/* ---- loading ---- */

static bool kind_of(const char *name, sb_artifact_kind_t *out)
{
    for (int kind = 0; kind < SB_ARTIFACT_KINDS; kind++) {
        if (strcmp(kind_names[kind], name) == 0) {
            *out = (sb_artifact_kind_t)kind;
            return true;
        }
    }
    return false;
}

static sb_code_t fill_entry(entry_t *entry, const sb_pg_result_t *rows, int row, sb_error_t *err)
{
    sb_slice_t hash = sb_pg_get_slice(rows, row, 3);
    entry->name = strdup(sb_pg_get_text(rows, row, 1));
    if (!entry->name)
        return no_memory(err);
    entry->artifact.name = entry->name;
    entry->artifact.version = (int)sb_pg_get_int(rows, row, 2);
    memcpy(entry->artifact.hash.byte, hash.ptr, hash.len < SB_HASH_BYTES ? hash.len : SB_HASH_BYTES);
    sb_code_t code = sb_json_parse(&entry->body, sb_pg_get_slice(rows, row, 4), entry->name, err);
    entry->artifact.body = entry->body;
    if (code != SB_OK || entry->artifact.kind != SB_ARTIFACT_EVENT)
        return code;
    code = sb_schema_compile(&entry->schema, json_object_get(entry->body, "schema"), err);
    entry->type = (sb_event_type_t){(int)sb_pg_get_int(rows, row, 5), entry->name, entry->artifact.version,
                                    entry->schema};
    return code;
}

/* Consumes the entry, unless another thread has loaded it meanwhile. */
static sb_code_t insert_once(sb_catalog_t *catalog, entry_t **entry, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    const sb_artifact_t *artifact = &(*entry)->artifact;
    (void)pthread_rwlock_wrlock(&catalog->lock);
    if (!find(&catalog->kind[artifact->kind], sb_slice(artifact->name), artifact->version)) {
        if (insert(catalog, *entry))
            *entry = NULL;
        else
            code = no_memory(err);
    }
    unlock(catalog);
    return code;
}

static sb_code_t load_row(sb_catalog_t *catalog, const sb_pg_result_t *rows, int row, sb_error_t *err)
{
    sb_artifact_kind_t kind;
    sb_slice_t name = sb_pg_get_slice(rows, row, 1);
    int version = (int)sb_pg_get_int(rows, row, 2);
    if (!kind_of(sb_pg_get_text(rows, row, 0), &kind))
        return SB_OK; /* a newer release's kind: none of ours */
    if (sb_catalog_artifact(catalog, kind, name, version))
        return SB_OK;
    entry_t *entry = calloc(1, sizeof *entry);
    if (!entry)
        return no_memory(err);
    entry->artifact.kind = kind;
    sb_code_t code = fill_entry(entry, rows, row, err);
    if (code == SB_OK)
        code = insert_once(catalog, &entry, err);
    free_entry(entry);
    return code == SB_OK ? SB_OK
                         : sb_context(err, code, "registered %s %.*s version %d", kind_names[kind],
                                      SB_SLICE_ARG(name), version);
}

static int64_t known_count(const sb_catalog_t *catalog)
{
    int64_t count = 0;
    lock_read(catalog);
    for (int kind = 0; kind < SB_ARTIFACT_KINDS; kind++)
        count += catalog->kind[kind].count;
    unlock(catalog);
    return count;
}

sb_code_t sb_catalog_load(sb_catalog_t *catalog, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, known_count(catalog));
    sb_code_t code = sb_pg_query(pg, sb_sql_catalog_load, &params, &rows, err);
    /* One that this release cannot read (a newer one registered it) does not keep the others away. */
    for (int row = 0; rows && row < sb_pg_rows(rows); row++) {
        sb_code_t of_row = load_row(catalog, rows, row, code == SB_OK ? err : NULL);
        if (code == SB_OK)
            code = of_row;
    }
    sb_pg_result_free(rows);
    return code;
}

/* ---- look-ups ---- */

const sb_event_type_t *sb_catalog_type(const sb_catalog_t *catalog, sb_slice_t name, int version)
{
    lock_read(catalog);
    const entry_t *entry = find(&catalog->kind[SB_ARTIFACT_EVENT], name, version);
    unlock(catalog);
    return entry ? &entry->type : NULL;
}

const sb_event_type_t *sb_catalog_type_no(const sb_catalog_t *catalog, int type_no)
{
    lock_read(catalog);
    const entries_t *numbers = &catalog->by_type_no;
    const entry_t *entry = type_no > 0 && type_no < numbers->cap ? numbers->at[type_no] : NULL;
    unlock(catalog);
    return entry ? &entry->type : NULL;
}

const sb_artifact_t *sb_catalog_artifact(const sb_catalog_t *catalog, sb_artifact_kind_t kind,
                                         sb_slice_t name, int version)
{
    lock_read(catalog);
    const entry_t *entry = find(&catalog->kind[kind], name, version);
    unlock(catalog);
    return entry ? &entry->artifact : NULL;
}

const sb_artifact_t *sb_catalog_by_hash(const sb_catalog_t *catalog, sb_artifact_kind_t kind,
                                        const sb_hash_t *hash)
{
    const entry_t *found = NULL;
    lock_read(catalog);
    for (int i = 0; i < catalog->kind[kind].count && !found; i++)
        if (memcmp(catalog->kind[kind].at[i]->artifact.hash.byte, hash->byte, SB_HASH_BYTES) == 0)
            found = catalog->kind[kind].at[i];
    unlock(catalog);
    return found ? &found->artifact : NULL;
}

/* The entry that follows one; the first for NULL. */
static const entry_t *next_entry(const sb_catalog_t *catalog, sb_artifact_kind_t kind, const entry_t *after)
{
    lock_read(catalog);
    const entries_t *list = &catalog->kind[kind];
    int at = after ? lower_bound(list, sb_slice(after->name), after->artifact.version + 1) : 0;
    const entry_t *entry = at < list->count ? list->at[at] : NULL;
    unlock(catalog);
    return entry;
}

sb_code_t sb_catalog_each(const sb_catalog_t *catalog, sb_artifact_kind_t kind, sb_artifact_fn visit,
                          void *context, sb_error_t *err)
{
    const entry_t *entry = NULL;
    while ((entry = next_entry(catalog, kind, entry)) != NULL) {
        sb_code_t code = visit(context, &entry->artifact, err);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}
