/* catalog - what this store knows: event types with their schemas, saga definitions, views,
 * push subscriptions.
 *
 * The files under schemas/ (events/<type>.v<version>.json, sagas/<name>.json, views/<name>.json,
 * subscriptions/<name>.json) are registered in PostgreSQL by canonical hash (sb_catalog_apply) and loaded
 * from there, never from the files. The same version with another hash is refused. Entries are never removed,
 * so what the catalog hands out stays valid as long as the catalog.
 *
 * Thread: look-ups and sb_catalog_load from any, each with its own connection (a read-write lock inside, held
 * for no query); sb_catalog_apply from one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_CATALOG_H
#define SB_EVENTS_CATALOG_H

#include "base/pg.h"
#include "events/schema/schema.h"
#include "events/schema/upcast.h"
#include "sagabus/event.h"
#include "sagabus/view.h"

typedef struct sb_catalog sb_catalog_t;

typedef enum sb_artifact_kind {
    SB_ARTIFACT_EVENT,
    SB_ARTIFACT_SAGA,
    SB_ARTIFACT_VIEW,
    SB_ARTIFACT_SUBSCRIPTION,
    SB_ARTIFACT_KINDS
} sb_artifact_kind_t;

typedef struct sb_artifact {
    sb_artifact_kind_t kind;
    const char *name;
    int version;
    sb_hash_t hash;
    const json_t *body; /* borrowed from the catalog */
} sb_artifact_t;

typedef struct sb_event_type {
    int type_no;
    const char *name;
    int version;
    const sb_schema_t *schema;
    const sb_upcast_t *upcast; /* from the version before it; NULL: the file declares none, nothing changes */
} sb_event_type_t;

SB_MUST_CHECK sb_code_t sb_catalog_new(sb_catalog_t **out, sb_error_t *err);
void sb_catalog_free(sb_catalog_t **catalog);

/* Reads everything registered that is not known yet. Cheap when nothing is new. What this release cannot read
 * (a newer one registered it) is set apart and keeps nothing else away: sb_catalog_complain names it. */
SB_MUST_CHECK sb_code_t sb_catalog_load(sb_catalog_t *catalog, sb_pg_t *pg, sb_error_t *err);

/* SB_OK, or SB_UNSUPPORTED with the first thing that is registered but cannot be read here: an artifact of a
 * newer release, or an event type whose old versions cannot become the newest because one between them is not
 * known. */
SB_MUST_CHECK sb_code_t sb_catalog_complain(const sb_catalog_t *catalog, sb_error_t *err);

/* The error about a type number that sb_catalog_type_no does not know: names type, version and reason if the
 * number belongs to something unreadable. Returns SB_UNSUPPORTED then, else SB_NOT_FOUND. */
sb_code_t sb_catalog_explain(const sb_catalog_t *catalog, int type_no, sb_error_t *err);

/* Rises with every change of what events are brought to. */
uint64_t sb_catalog_revision(const sb_catalog_t *catalog);

/* The version at the end of a dataschema, "…v2"; 0, which is the newest, when the text has none. */
int sb_catalog_version_of(sb_slice_t dataschema);

/* version 0: the newest. NULL when unknown (load once more before giving up: another instance may know it).
 */
const sb_event_type_t *sb_catalog_type(const sb_catalog_t *catalog, sb_slice_t name, int version);
const sb_event_type_t *sb_catalog_type_no(const sb_catalog_t *catalog, int type_no);

/* The same with the way to the newest version known here; *chain NULL: it is the newest. A chain with a
 * missing step is handed out too (sb_upcaster_ready names the step). */
const sb_event_type_t *sb_catalog_chain_no(const sb_catalog_t *catalog, int type_no,
                                           const sb_upcast_chain_t **chain);
const sb_event_type_t *sb_catalog_chain(const sb_catalog_t *catalog, sb_slice_t name, int version,
                                        const sb_upcast_chain_t **chain);
const sb_artifact_t *sb_catalog_artifact(const sb_catalog_t *catalog, sb_artifact_kind_t kind,
                                         sb_slice_t name, int version);
const sb_artifact_t *sb_catalog_by_hash(const sb_catalog_t *catalog, sb_artifact_kind_t kind,
                                        const sb_hash_t *hash);

/* The C functions of this process, which files name: folds of views ("c:NAME") and steps of upcasts ("hook").
 * Registered before the catalog is shared between threads. Codes: sb_views_fold, sb_views_upcast. */
SB_MUST_CHECK sb_code_t sb_catalog_fold(sb_catalog_t *catalog, const char *name, sb_fold_fn fn, void *context,
                                        sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_catalog_upcast(sb_catalog_t *catalog, const char *type, int version,
                                          sb_upcast_fn fn, void *context, sb_error_t *err);
/* False: there is none of the name. */
bool sb_catalog_fold_named(const sb_catalog_t *catalog, const char *name, sb_fold_fn *fn, void **context);
/* What an upcaster leans on; NULL: no step was registered. */
const sb_upcaster_t *sb_catalog_upcasts(const sb_catalog_t *catalog);

/* The largest event that may be appended to streams of a category, for a topic that takes less than the
 * store; 0: as the store has it. The server learns it from Kafka (max.message.bytes); it is this process's
 * only. */
SB_MUST_CHECK sb_code_t sb_catalog_limit(sb_catalog_t *catalog, sb_slice_t category, size_t bytes,
                                         sb_error_t *err);
size_t sb_catalog_event_bytes_max(const sb_catalog_t *catalog, sb_slice_t category);

/* Calls visit for each artifact of a kind, in order of name and version. */
typedef sb_code_t (*sb_artifact_fn)(void *context, const sb_artifact_t *artifact, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_catalog_each(const sb_catalog_t *catalog, sb_artifact_kind_t kind,
                                        sb_artifact_fn visit, void *context, sb_error_t *err);

/* Checks one body of a kind beyond JSON; the rooms of the others bring theirs. err->pointer at the fault. */
typedef sb_code_t (*sb_artifact_check_fn)(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err);

/* What only PostgreSQL can say of a body: asked by sb_catalog_apply, within its transaction, of each artifact
 * of the kind that is new. It leaves nothing behind. */
typedef sb_code_t (*sb_artifact_prove_fn)(const json_t *body, sb_pg_t *pg, sb_error_t *err);
void sb_catalog_prove(sb_catalog_t *catalog, sb_artifact_kind_t kind, sb_artifact_prove_fn prove);
sb_artifact_prove_fn sb_catalog_proof(const sb_catalog_t *catalog, sb_artifact_kind_t kind);

/* Adds one artifact as a file has it, without a database: for checks. text is its canonical body. */
SB_MUST_CHECK sb_code_t sb_catalog_add(sb_catalog_t *catalog, const sb_artifact_t *artifact, sb_slice_t text,
                                       int type_no, sb_error_t *err);

/* A fault in a file, or in how it stands to others. pointer may be "". */
typedef void (*sb_schema_fault_fn)(void *context, sb_code_t code, const char *file, const char *pointer,
                                   const char *message);

/* Checks every file under dir as sb_catalog_apply does, without a database: each by itself, versions of an
 * event type beside each other (events/schema/compat.h), the others beside the types. released holds
 * what the files are compared with (a loaded catalog, or a new one); against adds a directory of files to it,
 * NULL: none; SB_NOT_FOUND when there are no files in it. released is used up by it. Every fault is told of;
 * SB_OK also then. *files: how many were read without a fault of their own. */
SB_MUST_CHECK sb_code_t sb_catalog_check(sb_catalog_t *released, const char *against, const char *dir,
                                         const sb_artifact_check_fn check[SB_ARTIFACT_KINDS],
                                         sb_schema_fault_fn on_fault, void *context, int *files,
                                         sb_error_t *err);

typedef struct sb_apply_report {
    int added;
    int unchanged;
} sb_apply_report_t;

/* Registers every file under dir, in one transaction: events first, then views, sagas and subscriptions, each
 * checked (check[k] may be NULL). Errors name the file and the pointer. SB_MISMATCH: a registered version has
 * another hash. Also makes sure that the built-in saga.* event types are there. Loads what it added. */
SB_MUST_CHECK sb_code_t sb_catalog_apply(sb_catalog_t *catalog, sb_pg_t *pg, const char *dir,
                                         const sb_artifact_check_fn check[SB_ARTIFACT_KINDS],
                                         sb_apply_report_t *report, sb_error_t *err);

#endif
