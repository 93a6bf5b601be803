/* Checks the files of a project beside each other and beside what is registered, and without a database.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog_draft.h"
#include "events/schema/compat.h"

#include <stdio.h>

typedef struct check {
    sb_catalog_t *released;
    const sb_artifact_check_fn *check;
    const draft_faults_t *faults;
    const draft_t *draft; /* in hand */
    int changed;          /* new versions of events */
    int new_sagas;
    int faults_told;
    sb_code_t code; /* without a listener: the first fault's */
    sb_error_t *err;
} check_t;

static void tell(check_t *check, sb_code_t code, const char *pointer, const char *message)
{
    check->faults_told++;
    if (check->faults)
        check->faults->on_fault(check->faults->context, code, check->draft->path, pointer, message);
    else if (check->code == SB_OK)
        check->code = sb_fail_at(check->err, code, pointer, "%s%s%s: %s", check->draft->path,
                                 pointer[0] ? ", at " : "", pointer, message);
}

/* ---- versions of an event type ---- */

static void on_incompatible(void *context, const char *pointer, const char *message)
{
    tell(context, SB_INVALID, pointer, message);
}

static const json_t *body_of(const check_t *check, int version)
{
    const sb_artifact_t *artifact =
        sb_catalog_artifact(check->released, SB_ARTIFACT_EVENT, sb_slice(check->draft->name), version);
    return artifact ? artifact->body : NULL;
}

/* The version before it is there, or it is the first one that is known. */
static void check_place(check_t *check)
{
    const draft_t *draft = check->draft;
    char why[120];
    for (int version = draft->version - 2; version >= 1; version--) {
        if (!body_of(check, version))
            continue;
        (void)snprintf(why, sizeof why,
                       "the version before it is %d: versions have no gaps, make it version %d", version,
                       version + 1);
        tell(check, SB_INVALID, "/version", why);
        return;
    }
    if (json_object_get(draft->body, "x-upcast"))
        tell(check, SB_INVALID, "/x-upcast", "the version before it is not known");
}

static sb_code_t check_versions(check_t *check, sb_error_t *err)
{
    const draft_t *draft = check->draft;
    const json_t *before = body_of(check, draft->version - 1);
    const json_t *after = body_of(check, draft->version + 1);
    sb_code_t code = SB_OK;
    check->changed++;
    if (before)
        code = sb_compat_check(before, draft->body, on_incompatible, check, err);
    else
        check_place(check);
    if (code == SB_OK && after)
        code = sb_compat_check(draft->body, after, on_incompatible, check, err);
    return code;
}

/* ---- one draft ---- */

static void check_content(check_t *check, const sb_artifact_t *registered)
{
    const draft_t *draft = check->draft;
    char why[200];
    (void)snprintf(
        why, sizeof why,
        "%s version %d is registered with other content; a version is never edited once registered, make "
        "it version %d",
        draft->name, draft->version, draft->version + 1);
    if (memcmp(registered->hash.byte, draft->hash.byte, sizeof draft->hash.byte) != 0)
        tell(check, SB_MISMATCH, "", why);
}

/* beside NULL: by itself. */
static sb_code_t check_by_kind(check_t *check, const sb_catalog_t *beside, sb_error_t *err)
{
    const draft_t *draft = check->draft;
    sb_artifact_check_fn of_kind = check->check ? check->check[draft->kind] : NULL;
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = of_kind ? of_kind(draft->body, beside, &why) : SB_OK;
    if (code == SB_OK)
        return SB_OK;
    if (code == SB_NO_MEMORY) {
        if (err)
            *err = why;
        return code;
    }
    tell(check, code, why.pointer, why.message);
    return SB_OK;
}

static sb_code_t check_draft(check_t *check, draft_t *draft, sb_error_t *err)
{
    const sb_artifact_t *registered =
        sb_catalog_artifact(check->released, draft->kind, sb_slice(draft->name), draft->version);
    check->draft = draft;
    draft->known = registered != NULL;
    if (registered)
        check_content(check, registered);
    sb_code_t code = SB_OK;
    if (draft->kind == SB_ARTIFACT_EVENT && !registered)
        code = check_versions(check, err);
    /* What is registered was checked then. A release that is being replaced must be able to start once more,
     * though a newer one has registered versions that its views do not read. */
    bool saga = draft->kind == SB_ARTIFACT_SAGA; /* what they say of each other is asked when all are there */
    if (code == SB_OK && (!registered || (check->changed > 0 && !saga))) /* a saga names no type of event */
        code = check_by_kind(check, saga ? NULL : check->released, err);
    if (code != SB_OK || registered)
        return code;
    check->new_sagas += saga;
    sb_artifact_t artifact = {draft->kind, draft->name, draft->version, draft->hash, draft->body};
    return sb_catalog_add(check->released, &artifact, sb_buf_slice(&draft->text), 0, err);
}

/* ---- what is registered and not among the files ---- */

static bool is_drafted(const drafts_t *drafts, const sb_artifact_t *artifact)
{
    for (int i = 0; i < drafts->count; i++)
        if (drafts->at[i]->kind == artifact->kind && strcmp(drafts->at[i]->name, artifact->name) == 0)
            return true;
    return false;
}

typedef struct others {
    check_t *check;
    const drafts_t *drafts;
} others_t;

/* A new version of an event type may take a field away from a view that someone else registered. */
static sb_code_t check_view(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    others_t *others = context;
    check_t *check = others->check;
    const sb_artifact_t *newest =
        sb_catalog_artifact(check->released, SB_ARTIFACT_VIEW, sb_slice(artifact->name), 0);
    if (newest != artifact || is_drafted(others->drafts, artifact))
        return SB_OK;
    draft_t draft = {.kind = SB_ARTIFACT_VIEW, .body = (json_t *)(uintptr_t)artifact->body};
    (void)snprintf(draft.path, sizeof draft.path, "view %s version %d, which is registered", artifact->name,
                   artifact->version);
    check->draft = &draft;
    return check_by_kind(check, check->released, err);
}

/* The newest of each saga beside those that it has as steps. A new version may be one that another, which
 * someone else registered, cannot have as a step. */
static sb_code_t check_saga(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    others_t *others = context;
    check_t *check = others->check;
    if (sb_catalog_artifact(check->released, SB_ARTIFACT_SAGA, sb_slice(artifact->name), 0) != artifact)
        return SB_OK;
    draft_t draft = {.kind = SB_ARTIFACT_SAGA, .body = (json_t *)(uintptr_t)artifact->body};
    (void)snprintf(draft.path, sizeof draft.path, "saga %s version %d, which is registered", artifact->name,
                   artifact->version);
    check->draft = &draft;
    for (int i = 0; i < others->drafts->count; i++) {
        const draft_t *file = others->drafts->at[i];
        if (file->kind == SB_ARTIFACT_SAGA && file->version == artifact->version &&
            strcmp(file->name, artifact->name) == 0)
            check->draft = file;
    }
    return check_by_kind(check, check->released, err);
}

sb_code_t drafts_check(drafts_t *drafts, sb_catalog_t *released,
                       const sb_artifact_check_fn check_of[SB_ARTIFACT_KINDS], const draft_faults_t *faults,
                       sb_error_t *err)
{
    check_t check = {.released = released, .check = check_of, .faults = faults, .err = err};
    others_t others = {&check, drafts};
    sb_code_t code = SB_OK;
    for (int i = 0; code == SB_OK && check.code == SB_OK && i < drafts->count; i++)
        code = check_draft(&check, drafts->at[i], err);
    if (code == SB_OK && check.code == SB_OK && check.changed > 0)
        code = sb_catalog_each(released, SB_ARTIFACT_VIEW, check_view, &others, err);
    if (code == SB_OK && check.new_sagas > 0 && check.faults_told == 0) /* each by itself is right */
        code = sb_catalog_each(released, SB_ARTIFACT_SAGA, check_saga, &others, err);
    return code == SB_OK ? check.code : code;
}

/* ---- without a database ---- */

static sb_code_t add_baseline(sb_catalog_t *released, const char *dir, sb_error_t *err)
{
    drafts_t drafts = {NULL, 0};
    sb_code_t code = drafts_read(&drafts, dir, NULL, err);
    if (code == SB_OK && drafts.count == 0) /* a wrong directory must not pass for a right one */
        code = sb_fail(err, SB_NOT_FOUND,
                       "nothing to compare with: %s has no file in events/, views/ or sagas/", dir);
    for (int i = 0; code == SB_OK && i < drafts.count; i++) {
        const draft_t *draft = drafts.at[i];
        sb_artifact_t artifact = {draft->kind, draft->name, draft->version, draft->hash, draft->body};
        code = sb_catalog_add(released, &artifact, sb_buf_slice(&draft->text), 0, err);
    }
    drafts_fini(&drafts);
    return code;
}

sb_code_t sb_catalog_check(sb_catalog_t *released, const char *against, const char *dir,
                           const sb_artifact_check_fn check[SB_ARTIFACT_KINDS], sb_schema_fault_fn on_fault,
                           void *context, int *files, sb_error_t *err)
{
    draft_faults_t faults = {on_fault, context};
    drafts_t drafts = {NULL, 0};
    *files = 0;
    sb_code_t code = against ? add_baseline(released, against, err) : SB_OK;
    if (code == SB_OK)
        code = drafts_read(&drafts, dir, &faults, err);
    *files = drafts.count;
    if (code == SB_OK)
        code = drafts_add_builtin(&drafts, err);
    drafts_sort(&drafts);
    if (code == SB_OK)
        code = drafts_check(&drafts, released, check, &faults, err);
    drafts_fini(&drafts);
    return code;
}
