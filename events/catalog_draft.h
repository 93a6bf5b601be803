/* catalog_draft - the files of a project as drafts of what is to be registered, each checked by itself; and
 * all of them checked beside each other and what is registered.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_CATALOG_DRAFT_H
#define SB_EVENTS_CATALOG_DRAFT_H

#include "events/catalog.h"

typedef struct draft {
    sb_artifact_kind_t kind;
    char path[512];
    json_t *body;
    char name[SB_TYPE_MAX + 1];
    int version;
    sb_buf_t text; /* canonical */
    sb_hash_t hash;
    bool builtin;
    bool known; /* registered already, with this content */
} draft_t;

typedef struct drafts {
    draft_t **at;
    int count;
} drafts_t;

/* Who is told of each fault. NULL in place of it: the first one is the error. */
typedef struct draft_faults {
    sb_schema_fault_fn on_fault;
    void *context;
} draft_faults_t;

const char *draft_kind_name(sb_artifact_kind_t kind);

/* Adds every file under dir. SB_NOT_FOUND: no such directory. */
SB_MUST_CHECK sb_code_t drafts_read(drafts_t *drafts, const char *dir, const draft_faults_t *faults,
                                    sb_error_t *err);
SB_MUST_CHECK sb_code_t drafts_add_builtin(drafts_t *drafts, sb_error_t *err);
/* In the order in which they may name each other. */
void drafts_sort(drafts_t *drafts);
void drafts_fini(drafts_t *drafts);

/* Checks sorted drafts beside what released holds, which they are added to; sets draft->known. */
SB_MUST_CHECK sb_code_t drafts_check(drafts_t *drafts, sb_catalog_t *released,
                                     const sb_artifact_check_fn check[SB_ARTIFACT_KINDS],
                                     const draft_faults_t *faults, sb_error_t *err);

#endif
