/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include <assert.h>

void sb_pg_batch_add(sb_pg_batch_t *batch, const char *sql, const sb_pg_params_t *params)
{
    assert(batch->count < SB_PG_BATCH_MAX);
    batch->sql[batch->count] = sql;
    batch->params[batch->count] = params;
    batch->count++;
}

static bool send_batch(sb_pg_t *pg, const sb_pg_batch_t *batch)
{
    for (int i = 0; i < batch->count; i++) {
        const sb_pg_params_t *params = batch->params[i];
        char name[24];
        sb_pg_bound_t bound;
        sb_pg_statement_name(batch->sql[i], name);
        sb_pg_bind(params, &bound);
        if (!PQsendQueryPrepared(pg->conn, name, params ? params->count : 0, bound.value,
                                 params ? params->length : NULL, bound.format, 1))
            return false;
    }
    return PQpipelineSync(pg->conn) == 1;
}

/* Reads the results up to the sync point. Returns the index of the first failure in *failed_at. */
static sb_code_t read_batch(sb_pg_t *pg, const sb_pg_batch_t *batch, sb_pg_result_t **results, int *failed_at,
                            sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < batch->count; i++) {
        PGresult *result = PQgetResult(pg->conn);
        ExecStatusType status = PQresultStatus(result);
        if (!result || (!sb_pg_is_success(result) && status != PGRES_PIPELINE_ABORTED)) {
            if (code == SB_OK) {
                code = sb_pg_result_error(pg, result, true, err);
                *failed_at = sb_pg_is_open(pg) ? i : -1;
            }
        }
        if (code == SB_OK && results)
            results[i] = (sb_pg_result_t *)result;
        else
            PQclear(result);
        if (result)
            PQclear(PQgetResult(pg->conn)); /* the NULL after each statement */
        if (!sb_pg_is_open(pg))
            break;
    }
    return code;
}

/* The sync's own answer says that the implicit transaction committed. A COMMIT that fails (a deferred
 * constraint, a lost connection) arrives here: as an error, a NULL, and then the sync, which must be read
 * too, or the connection stays in the pipeline. */
static sb_code_t read_sync(sb_pg_t *pg, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    int nulls = 0;
    while (!pg->dead) {
        PGresult *result = PQgetResult(pg->conn);
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return code;
        }
        if (!result && ++nulls > 1)
            pg->dead = true; /* out of step with libpq */
        if (code == SB_OK && (result || pg->dead))
            code = sb_pg_result_error(pg, result, true, err);
        PQclear(result);
    }
    return code;
}

sb_code_t sb_pg_batch_run_beside(sb_pg_t *pg, const sb_pg_batch_t *batch, void (*on_sent)(void *context),
                                 void *context, sb_pg_result_t **results, int *failed_at, sb_error_t *err)
{
    int ignored;
    if (!failed_at)
        failed_at = &ignored;
    *failed_at = -1;
    for (int i = 0; results && i < batch->count; i++)
        results[i] = NULL;
    if (!sb_pg_is_open(pg))
        return sb_pg_broken(err);
    for (int i = 0; i < batch->count; i++) {
        sb_code_t code = sb_pg_prepare(pg, batch->sql[i], batch->params[i], err);
        if (code != SB_OK) {
            *failed_at = i;
            return code;
        }
    }
    if (!PQenterPipelineMode(pg->conn))
        return sb_pg_result_error(pg, NULL, false, err);
    sb_code_t code = SB_OK;
    if (!send_batch(pg, batch))
        code = sb_pg_result_error(pg, NULL, true, err);
    else if (on_sent)
        on_sent(context);
    if (code == SB_OK) {
        code = read_batch(pg, batch, results, failed_at, err);
        if (sb_pg_is_open(pg)) {
            sb_code_t sync = read_sync(pg, code == SB_OK ? err : NULL);
            if (code == SB_OK)
                code = sync;
        }
    }
    if (sb_pg_is_open(pg) && !PQexitPipelineMode(pg->conn))
        pg->dead = true;
    if (code != SB_OK && results) {
        for (int i = 0; i < batch->count; i++) {
            sb_pg_result_free(results[i]);
            results[i] = NULL;
        }
    }
    return code;
}

sb_code_t sb_pg_batch_run(sb_pg_t *pg, const sb_pg_batch_t *batch, sb_pg_result_t **results, int *failed_at,
                          sb_error_t *err)
{
    return sb_pg_batch_run_beside(pg, batch, NULL, NULL, results, failed_at, err);
}
