/* What is registered, kept in memory: each kind sorted by name and version. Entries are made outside the lock
 * and never change or go away, so the lock guards the lists alone. What one load found goes in under one
 * lock, with the chains that follow from it, so that nobody sees a new version without the way to it. A chain
 * that a newer version has replaced stays until the catalog goes, because a reader may hold it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"

#include "events_sql.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct entry {
    sb_artifact_t artifact;
    sb_event_type_t type; /* of an event; type_no 0: of another kind */
    char *name;
    json_t *body;
    sb_schema_t *schema;
    sb_upcast_t *upcast;
    sb_upcast_chain_t *chain; /* to the newest; NULL: it is the newest */
} entry_t;

typedef struct entries {
    entry_t **at;
    int count;
    int cap;
} entries_t;

/* Registered, but not for this release. */
typedef struct unreadable {
    sb_artifact_kind_t kind;
    char *name;
    int version;
    int type_no;
    sb_error_t why;
} unreadable_t;

/* The largest event of a category, where its topic takes less than the store. */
typedef struct limit {
    char *category;
    size_t bytes;
} limit_t;

typedef struct fold {
    char *name;
    sb_fold_fn fn;
    void *context;
} fold_t;

struct sb_catalog {
    pthread_rwlock_t lock;
    atomic_uint_fast64_t revision;
    entries_t kind[SB_ARTIFACT_KINDS]; /* sorted by name, version */
    entries_t by_type_no;              /* at[type_no], NULL where there is none */
    unreadable_t *unreadable;
    int unreadable_count;
    sb_upcast_chain_t **replaced; /* chains */
    int replaced_count;
    bool unlinked; /* memory ran out while chains were made */
    limit_t *limits;
    atomic_int limit_count;
    sb_artifact_prove_fn prove[SB_ARTIFACT_KINDS]; /* set before anything is registered */
    fold_t *folds;                                 /* these too, before the catalog is shared */
    int fold_count;
    sb_upcaster_t *upcasts;
};

static const char *const kind_names[SB_ARTIFACT_KINDS] = {"event", "saga", "view", "subscription"};

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
    sb_upcast_free(&entry->upcast);
    json_decref(entry->body);
    free(entry->chain);
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
    for (int i = 0; i < c->unreadable_count; i++)
        free(c->unreadable[i].name);
    for (int i = 0; i < c->replaced_count; i++)
        free(c->replaced[i]);
    for (int i = 0; i < c->limit_count; i++)
        free(c->limits[i].category);
    for (int i = 0; i < c->fold_count; i++)
        free(c->folds[i].name);
    free(c->folds);
    sb_upcaster_free(&c->upcasts);
    free(c->limits);
    free(c->unreadable);
    free(c->replaced);
    free(c->by_type_no.at);
    (void)pthread_rwlock_destroy(&c->lock);
    free(c);
    *catalog = NULL;
}

/* ---- C functions ---- */

bool sb_catalog_fold_named(const sb_catalog_t *catalog, const char *name, sb_fold_fn *fn, void **context)
{
    for (int i = 0; i < catalog->fold_count; i++)
        if (strcmp(catalog->folds[i].name, name) == 0) {
            *fn = catalog->folds[i].fn;
            *context = catalog->folds[i].context;
            return true;
        }
    return false;
}

sb_code_t sb_catalog_fold(sb_catalog_t *catalog, const char *name, sb_fold_fn fn, void *context,
                          sb_error_t *err)
{
    sb_fold_fn present;
    void *ignored;
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (length < 1 || length > SB_FOLD_NAME_MAX || name[length] != '\0' || name[0] < 'a')
        return sb_fail(err, SB_INVALID,
                       "fold %s: its name must be 1 to %d of a-z, 0-9 and _, beginning with a letter", name,
                       SB_FOLD_NAME_MAX);
    if (sb_catalog_fold_named(catalog, name, &present, &ignored))
        return sb_fail(err, SB_CONFLICT, "fold %s: there is a function for it already", name);
    if (catalog->fold_count == SB_FOLDS_MAX)
        return sb_fail(err, SB_TOO_LARGE, "fold %s: more than %d functions", name, SB_FOLDS_MAX);
    fold_t *folds = realloc(catalog->folds, (size_t)(catalog->fold_count + 1) * sizeof *folds);
    if (folds)
        catalog->folds = folds;
    char *copy = folds ? strdup(name) : NULL;
    if (!copy)
        return no_memory(err);
    folds[catalog->fold_count++] = (fold_t){copy, fn, context};
    return SB_OK;
}

sb_code_t sb_catalog_upcast(sb_catalog_t *catalog, const char *type, int version, sb_upcast_fn fn,
                            void *context, sb_error_t *err)
{
    sb_code_t code = catalog->upcasts ? SB_OK : sb_upcaster_new(&catalog->upcasts, err);
    return code == SB_OK ? sb_upcaster_hook(catalog->upcasts, type, version, fn, context, err) : code;
}

const sb_upcaster_t *sb_catalog_upcasts(const sb_catalog_t *catalog)
{
    return catalog->upcasts;
}

/* ---- what topics take ---- */

static limit_t *find_limit(const sb_catalog_t *catalog, sb_slice_t category)
{
    for (int i = 0; i < catalog->limit_count; i++)
        if (sb_slice_is(category, catalog->limits[i].category))
            return &catalog->limits[i];
    return NULL;
}

static sb_code_t add_limit(sb_catalog_t *catalog, sb_slice_t category, size_t bytes, sb_error_t *err)
{
    int count = catalog->limit_count;
    char *name = strndup(category.ptr, category.len);
    limit_t *grown = realloc(catalog->limits, ((size_t)count + 1) * sizeof *grown);
    if (grown)
        catalog->limits = grown;
    if (!grown || !name) {
        free(name);
        return no_memory(err);
    }
    grown[count] = (limit_t){name, bytes};
    catalog->limit_count = count + 1;
    return SB_OK;
}

sb_code_t sb_catalog_limit(sb_catalog_t *catalog, sb_slice_t category, size_t bytes, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    (void)pthread_rwlock_wrlock(&catalog->lock);
    limit_t *limit = find_limit(catalog, category);
    if (limit)
        limit->bytes = bytes;
    else
        code = add_limit(catalog, category, bytes, err);
    (void)pthread_rwlock_unlock(&catalog->lock);
    return code;
}

size_t sb_catalog_event_bytes_max(const sb_catalog_t *catalog, sb_slice_t category)
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)(uintptr_t)&catalog->lock;
    if (atomic_load(&catalog->limit_count) == 0)
        return 0;
    (void)pthread_rwlock_rdlock(lock);
    const limit_t *limit = find_limit(catalog, category);
    size_t bytes = limit ? limit->bytes : 0;
    (void)pthread_rwlock_unlock(lock);
    return bytes;
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

/* ---- chains, under the lock ---- */

/* A chain that the list of replaced ones has no place for is leaked by nobody: the place is made first. */
static bool replace_chain(sb_catalog_t *catalog, entry_t *entry, sb_upcast_chain_t *chain)
{
    if (entry->chain) {
        size_t count = (size_t)catalog->replaced_count + 1;
        sb_upcast_chain_t **replaced = realloc(catalog->replaced, count * sizeof(sb_upcast_chain_t *));
        if (!replaced)
            return false;
        catalog->replaced = replaced;
        catalog->replaced[catalog->replaced_count++] = entry->chain;
    }
    entry->chain = chain;
    return true;
}

static bool link_entry(sb_catalog_t *catalog, entry_t *entry, const entry_t *newest)
{
    int from = entry->artifact.version;
    int to = newest->artifact.version;
    if (entry->chain && entry->chain->to == to && !entry->chain->missing)
        return true;
    int count = to - from;
    sb_upcast_chain_t *chain = calloc(1, sizeof *chain + (size_t)count * sizeof chain->step[0]);
    if (!chain)
        return false;
    *chain = (sb_upcast_chain_t){.type = entry->name, .from = from, .to = to};
    for (int version = from + 1; version <= to; version++) {
        const entry_t *next = find(&catalog->kind[SB_ARTIFACT_EVENT], sb_slice(entry->name), version);
        if (!next) {
            chain->missing = version;
            break;
        }
        chain->step[chain->count++] = (sb_upcast_step_t){version, next->upcast, next->schema};
    }
    if (replace_chain(catalog, entry, chain))
        return true;
    free(chain);
    return false;
}

static bool link_versions(sb_catalog_t *catalog, const char *name)
{
    const entries_t *list = &catalog->kind[SB_ARTIFACT_EVENT];
    const entry_t *newest = find(list, sb_slice(name), 0);
    for (int i = lower_bound(list, sb_slice(name), 1); i < list->count && list->at[i] != newest; i++)
        if (!link_entry(catalog, list->at[i], newest))
            return false;
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

static sb_code_t compile_type(entry_t *entry, int type_no, sb_error_t *err)
{
    const json_t *upcast = json_object_get(entry->body, "x-upcast");
    sb_code_t code = sb_schema_compile(&entry->schema, json_object_get(entry->body, "schema"), err);
    if (code == SB_OK && upcast)
        code = sb_upcast_compile(&entry->upcast, upcast, err);
    entry->type =
        (sb_event_type_t){type_no, entry->name, entry->artifact.version, entry->schema, entry->upcast};
    return code;
}

/* One registered artifact, as a row of the table or as a file says it. */
typedef struct source {
    sb_artifact_kind_t kind;
    sb_slice_t name;
    int version;
    sb_slice_t hash;
    sb_slice_t body;
    int type_no;
} source_t;

static sb_code_t fill_entry(entry_t *entry, const source_t *source, sb_error_t *err)
{
    entry->artifact.kind = source->kind;
    entry->name = strndup(source->name.ptr, source->name.len);
    if (!entry->name)
        return no_memory(err);
    entry->artifact.name = entry->name;
    entry->artifact.version = source->version;
    memcpy(entry->artifact.hash.byte, source->hash.ptr,
           source->hash.len < SB_HASH_BYTES ? source->hash.len : SB_HASH_BYTES);
    sb_code_t code = sb_json_parse(&entry->body, source->body, entry->name, err);
    entry->artifact.body = entry->body;
    return code == SB_OK && source->kind == SB_ARTIFACT_EVENT ? compile_type(entry, source->type_no, err)
                                                              : code;
}

static sb_code_t new_entry(entry_t **out, const source_t *source, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return no_memory(err);
    sb_code_t code = fill_entry(*out, source, err);
    if (code != SB_OK) {
        free_entry(*out);
        *out = NULL;
    }
    return code;
}

/* Consumes the entry, unless another thread has loaded it meanwhile. Under the lock. */
static bool insert_once(sb_catalog_t *catalog, entry_t **entry)
{
    const sb_artifact_t *artifact = &(*entry)->artifact;
    if (find(&catalog->kind[artifact->kind], sb_slice(artifact->name), artifact->version))
        return true;
    if (!insert(catalog, *entry))
        return false;
    *entry = NULL;
    if (artifact->kind == SB_ARTIFACT_EVENT && !link_versions(catalog, artifact->name))
        catalog->unlinked = true;
    return !catalog->unlinked;
}

/* After memory ran out in the middle: a version without its chain would be read as it was written. */
static bool link_again(sb_catalog_t *catalog)
{
    const entries_t *events = &catalog->kind[SB_ARTIFACT_EVENT];
    for (int i = 0; catalog->unlinked && i < events->count; i++)
        if (!link_versions(catalog, events->at[i]->name))
            return false;
    catalog->unlinked = false;
    return true;
}

static sb_code_t insert_all(sb_catalog_t *catalog, entries_t *fresh, sb_error_t *err)
{
    (void)pthread_rwlock_wrlock(&catalog->lock);
    bool changed = fresh->count > 0 || catalog->unlinked;
    sb_code_t code = link_again(catalog) ? SB_OK : no_memory(err);
    for (int i = 0; code == SB_OK && i < fresh->count; i++)
        if (fresh->at[i] && !insert_once(catalog, &fresh->at[i]))
            code = no_memory(err);
    if (changed)
        atomic_fetch_add(&catalog->revision, 1);
    unlock(catalog);
    return code;
}

/* Under the lock. */
static bool is_set_apart(const sb_catalog_t *catalog, const source_t *source)
{
    for (int i = 0; i < catalog->unreadable_count; i++) {
        const unreadable_t *other = &catalog->unreadable[i];
        if (other->kind == source->kind && other->version == source->version &&
            sb_slice_is(source->name, other->name))
            return true;
    }
    return false;
}

/* Read already, or known to be unreadable. */
static bool is_known(const sb_catalog_t *catalog, const source_t *source)
{
    lock_read(catalog);
    bool known =
        find(&catalog->kind[source->kind], source->name, source->version) || is_set_apart(catalog, source);
    unlock(catalog);
    return known;
}

static sb_code_t set_apart(sb_catalog_t *catalog, const source_t *source, const sb_error_t *why,
                           sb_error_t *err)
{
    unreadable_t added = {source->kind, strndup(source->name.ptr, source->name.len), source->version,
                          source->type_no, *why};
    if (!added.name)
        return no_memory(err);
    (void)pthread_rwlock_wrlock(&catalog->lock);
    bool twice = is_set_apart(catalog, source);
    size_t count = (size_t)catalog->unreadable_count + 1;
    unreadable_t *moved = twice ? NULL : realloc(catalog->unreadable, count * sizeof *moved);
    if (moved) {
        catalog->unreadable = moved;
        moved[catalog->unreadable_count++] = added;
    }
    unlock(catalog);
    if (!moved)
        free(added.name);
    return moved || twice ? SB_OK : no_memory(err);
}

static sb_code_t load_row(sb_catalog_t *catalog, entries_t *fresh, const sb_pg_result_t *rows, int row,
                          sb_error_t *err)
{
    source_t source = {.name = sb_pg_get_slice(rows, row, 1),
                       .version = (int)sb_pg_get_int(rows, row, 2),
                       .hash = sb_pg_get_slice(rows, row, 3),
                       .body = sb_pg_get_slice(rows, row, 4),
                       .type_no = (int)sb_pg_get_int(rows, row, 5)};
    if (!kind_of(sb_pg_get_text(rows, row, 0), &source.kind))
        return SB_OK; /* a newer release's kind: none of ours */
    if (is_known(catalog, &source))
        return SB_OK;
    sb_error_t why = SB_ERROR_INIT;
    if (!grow(fresh, fresh->count + 1))
        return no_memory(err);
    sb_code_t code = new_entry(&fresh->at[fresh->count], &source, &why);
    if (code == SB_OK) {
        fresh->count++;
        return SB_OK;
    }
    return code == SB_NO_MEMORY ? no_memory(err) : set_apart(catalog, &source, &why, err);
}

static int64_t known_count(const sb_catalog_t *catalog)
{
    lock_read(catalog);
    int64_t count = catalog->unreadable_count;
    for (int kind = 0; kind < SB_ARTIFACT_KINDS; kind++)
        count += catalog->kind[kind].count;
    unlock(catalog);
    return count;
}

sb_code_t sb_catalog_load(sb_catalog_t *catalog, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    entries_t fresh = {NULL, 0, 0};
    sb_pg_add_int8(&params, known_count(catalog));
    sb_code_t code = sb_pg_query(pg, sb_sql_catalog_load, &params, &rows, err);
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++)
        code = load_row(catalog, &fresh, rows, row, err);
    sb_pg_result_free(rows);
    if (code == SB_OK)
        code = insert_all(catalog, &fresh, err);
    for (int i = 0; i < fresh.count; i++)
        free_entry(fresh.at[i]);
    free(fresh.at);
    return code;
}

sb_code_t sb_catalog_add(sb_catalog_t *catalog, const sb_artifact_t *artifact, sb_slice_t text, int type_no,
                         sb_error_t *err)
{
    source_t source = {artifact->kind,
                       sb_slice(artifact->name),
                       artifact->version,
                       {(const char *)artifact->hash.byte, SB_HASH_BYTES},
                       text,
                       type_no};
    entry_t *entry = NULL;
    sb_code_t code = new_entry(&entry, &source, err);
    if (code == SB_OK) {
        entries_t fresh = {&entry, 1, 1};
        code = insert_all(catalog, &fresh, err);
    }
    free_entry(entry);
    return code;
}

/* ---- what cannot be read ---- */

static const char *text_of_kind(sb_artifact_kind_t kind)
{
    return kind == SB_ARTIFACT_EVENT ? "event type" : kind_names[kind];
}

static sb_code_t say(const unreadable_t *unreadable, sb_error_t *err)
{
    return sb_fail(
        err, SB_UNSUPPORTED, "%s %s version %d is registered, but this release cannot read it: %.100s",
        text_of_kind(unreadable->kind), unreadable->name, unreadable->version, unreadable->why.message);
}

sb_code_t sb_catalog_complain(const sb_catalog_t *catalog, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    lock_read(catalog);
    const entries_t *events = &catalog->kind[SB_ARTIFACT_EVENT];
    if (catalog->unreadable_count > 0)
        code = say(&catalog->unreadable[0], err);
    for (int i = 0; code == SB_OK && i < events->count; i++) {
        const sb_upcast_chain_t *chain = events->at[i]->chain;
        if (chain && chain->missing)
            code = sb_fail(err, SB_UNSUPPORTED,
                           "event type %s version %d cannot become version %d: version %d is not registered",
                           chain->type, chain->from, chain->to, chain->missing);
    }
    unlock(catalog);
    return code;
}

sb_code_t sb_catalog_explain(const sb_catalog_t *catalog, int type_no, sb_error_t *err)
{
    sb_code_t code = SB_NOT_FOUND;
    lock_read(catalog);
    for (int i = 0; i < catalog->unreadable_count && code == SB_NOT_FOUND; i++)
        if (catalog->unreadable[i].kind == SB_ARTIFACT_EVENT && catalog->unreadable[i].type_no == type_no)
            code = say(&catalog->unreadable[i], err);
    unlock(catalog);
    if (code == SB_NOT_FOUND)
        code = sb_fail(err, SB_NOT_FOUND, "event type number %d is not registered", type_no);
    return code;
}

uint64_t sb_catalog_revision(const sb_catalog_t *catalog)
{
    return atomic_load(&((sb_catalog_t *)(uintptr_t)catalog)->revision);
}

/* ---- look-ups ---- */

int sb_catalog_version_of(sb_slice_t dataschema)
{
    int version = 0;
    size_t i = dataschema.len;
    while (i > 0 && dataschema.ptr[i - 1] >= '0' && dataschema.ptr[i - 1] <= '9')
        i--;
    if (i == dataschema.len || i == 0 || dataschema.ptr[i - 1] != 'v' || dataschema.len - i > 6)
        return 0;
    for (; i < dataschema.len; i++)
        version = version * 10 + (dataschema.ptr[i] - '0');
    return version;
}

const sb_event_type_t *sb_catalog_type(const sb_catalog_t *catalog, sb_slice_t name, int version)
{
    lock_read(catalog);
    const entry_t *entry = find(&catalog->kind[SB_ARTIFACT_EVENT], name, version);
    unlock(catalog);
    return entry ? &entry->type : NULL;
}

const sb_event_type_t *sb_catalog_type_no(const sb_catalog_t *catalog, int type_no)
{
    const sb_upcast_chain_t *ignored;
    return sb_catalog_chain_no(catalog, type_no, &ignored);
}

const sb_event_type_t *sb_catalog_chain_no(const sb_catalog_t *catalog, int type_no,
                                           const sb_upcast_chain_t **chain)
{
    lock_read(catalog);
    const entries_t *numbers = &catalog->by_type_no;
    const entry_t *entry = type_no > 0 && type_no < numbers->cap ? numbers->at[type_no] : NULL;
    *chain = entry ? entry->chain : NULL;
    unlock(catalog);
    return entry ? &entry->type : NULL;
}

const sb_event_type_t *sb_catalog_chain(const sb_catalog_t *catalog, sb_slice_t name, int version,
                                        const sb_upcast_chain_t **chain)
{
    lock_read(catalog);
    const entry_t *entry = find(&catalog->kind[SB_ARTIFACT_EVENT], name, version);
    *chain = entry ? entry->chain : NULL;
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

void sb_catalog_prove(sb_catalog_t *catalog, sb_artifact_kind_t kind, sb_artifact_prove_fn prove)
{
    catalog->prove[kind] = prove;
}

sb_artifact_prove_fn sb_catalog_proof(const sb_catalog_t *catalog, sb_artifact_kind_t kind)
{
    return catalog->prove[kind];
}
