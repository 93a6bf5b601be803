/* Registers the files of a project: reads them all, checks them beside what is registered, and puts them in,
 * within one transaction.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog_draft.h"
#include "events_sql.h"

typedef struct apply {
    sb_pg_t *pg;
    sb_catalog_t
        *staging; /* what the database holds within this transaction, and the files: for the checks only */
    const sb_catalog_t *catalog; /* the caller's: what it proves */
    drafts_t drafts;
    const sb_artifact_check_fn *check;
    sb_apply_report_t report;
} apply_t;

static sb_code_t compare_hash(apply_t *apply, const draft_t *draft, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, draft_kind_name(draft->kind));
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
    sb_pg_add_text(&params, draft_kind_name(draft->kind));
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
    sb_artifact_prove_fn prove = sb_catalog_proof(apply->catalog, draft->kind);
    if (prove)
        code = prove(draft->body, apply->pg, err);
    if (code != SB_OK)
        return sb_context(err, code, "%s", draft->path);
    return draft->kind == SB_ARTIFACT_EVENT ? put_type(apply, draft, err) : SB_OK;
}

/* A built-in type is counted only when it is new: mostly the files have it too. */
static sb_code_t put_all(apply_t *apply, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; code == SB_OK && i < apply->drafts.count; i++) {
        bool added = false;
        const draft_t *draft = apply->drafts.at[i];
        if (!draft->known)
            code = put(apply, draft, &added, err);
        apply->report.added += code == SB_OK && added;
        apply->report.unchanged += code == SB_OK && !added && !draft->builtin;
    }
    return code;
}

/* Whoever registers holds the lock, so that what is checked here is still so at the commit. */
static sb_code_t apply_all(apply_t *apply, sb_error_t *err)
{
    sb_code_t code = sb_pg_query(apply->pg, sb_sql_catalog_lock, NULL, NULL, err);
    if (code == SB_OK)
        code = sb_catalog_load(apply->staging, apply->pg, err);
    if (code == SB_OK)
        code = drafts_check(&apply->drafts, apply->staging, apply->check, NULL, err);
    return code == SB_OK ? put_all(apply, err) : code;
}

static sb_code_t read_files(apply_t *apply, const char *dir, sb_error_t *err)
{
    sb_code_t code = drafts_read(&apply->drafts, dir, NULL, err);
    if (code == SB_OK)
        code = drafts_add_builtin(&apply->drafts, err);
    drafts_sort(&apply->drafts);
    return code == SB_OK ? sb_catalog_new(&apply->staging, err) : code;
}

sb_code_t sb_catalog_apply(sb_catalog_t *catalog, sb_pg_t *pg, const char *dir,
                           const sb_artifact_check_fn check[SB_ARTIFACT_KINDS], sb_apply_report_t *report,
                           sb_error_t *err)
{
    apply_t apply = {.pg = pg, .catalog = catalog, .check = check};
    *report = apply.report;
    sb_code_t code = read_files(&apply, dir, err);
    if (code == SB_OK)
        code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = apply_all(&apply, err);
    if (code == SB_OK)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK)
        sb_pg_rollback(pg);
    sb_catalog_free(&apply.staging);
    drafts_fini(&apply.drafts);
    if (code != SB_OK)
        return code;
    *report = apply.report;
    return sb_catalog_load(catalog, pg, err);
}
