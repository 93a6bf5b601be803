/* SPDX-License-Identifier: Apache-2.0 */
#include "events/tally.h"

#include "events_sql.h"

#define STEP_BLOCKS 20   /* of a reader in one statement: some 50 ms */
#define TEXT_ARRAY  1009 /* its type in PostgreSQL */

/* ---- counting ---- */

bool sb_tally_add(sb_tally_t *tally, int64_t seq, int times)
{
    int64_t block = (seq - 1) / SB_TALLY_BLOCK;
    int i = tally->count - 1; /* events come in order */
    while (i >= 0 && tally->at[i].block != block)
        i--;
    if (i < 0 && tally->count == SB_TALLY_BLOCKS)
        return false;
    if (i < 0) {
        i = tally->count++;
        tally->at[i].block = block;
        tally->at[i].events = tally->at[i].seqs = 0;
    }
    tally->at[i].events += times;
    tally->at[i].seqs += times * (seq - block * SB_TALLY_BLOCK);
    return true;
}

/* ---- writing ---- */

void sb_tally_write_init(sb_tally_write_t *write)
{
    sb_pg_array_init(&write->block, SB_PG_INT8);
    sb_pg_array_init(&write->events, SB_PG_INT8);
    sb_pg_array_init(&write->seqs, SB_PG_INT8);
}

void sb_tally_write_fini(sb_tally_write_t *write)
{
    sb_pg_array_fini(&write->block);
    sb_pg_array_fini(&write->events);
    sb_pg_array_fini(&write->seqs);
}

sb_code_t sb_tally_write_add(sb_tally_write_t *write, const sb_tally_t *tally, const char *role,
                             int64_t generation, sb_pg_batch_t *batch, sb_error_t *err)
{
    if (tally->count == 0)
        return SB_OK;
    sb_pg_array_reset(&write->block);
    sb_pg_array_reset(&write->events);
    sb_pg_array_reset(&write->seqs);
    for (int i = 0; i < tally->count; i++) {
        sb_pg_array_add_int8(&write->block, tally->at[i].block);
        sb_pg_array_add_int8(&write->events, tally->at[i].events);
        sb_pg_array_add_int8(&write->seqs, tally->at[i].seqs);
    }
    if (sb_pg_array_failed(&write->block) || sb_pg_array_failed(&write->events) ||
        sb_pg_array_failed(&write->seqs))
        return sb_fail(err, SB_NO_MEMORY, "count of events: out of memory");
    write->params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_text(&write->params, role);
    sb_pg_add_int8(&write->params, generation);
    sb_pg_add_array(&write->params, &write->block);
    sb_pg_add_array(&write->params, &write->events);
    sb_pg_add_array(&write->params, &write->seqs);
    sb_pg_batch_add(batch, sb_sql_tally_add, &write->params);
    return SB_OK;
}

sb_code_t sb_tally_flush(sb_tally_t *tally, sb_pg_t *pg, const sb_lease_t *guard, const char *role,
                         int64_t generation, sb_error_t *err)
{
    sb_tally_write_t write;
    sb_pg_params_t params;
    sb_pg_batch_t batch = {.count = 0};
    if (tally->count == 0)
        return SB_OK;
    sb_tally_write_init(&write);
    sb_lease_guard(guard, NULL, &params);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &params);
    sb_code_t code = sb_tally_write_add(&write, tally, role, generation, &batch, err);
    if (code == SB_OK)
        code = sb_pg_batch_run(pg, &batch, NULL, NULL, err);
    sb_tally_write_fini(&write);
    if (code == SB_OK)
        tally->count = 0;
    return code;
}

sb_code_t sb_tally_begin(sb_pg_t *pg, const char *role, int64_t generation, const sb_pg_array_t *domain,
                         const sb_pg_array_t *saga, int64_t begun_seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, role);
    sb_pg_add_int8(&params, generation);
    if (domain)
        sb_pg_add_array(&params, domain);
    else
        sb_pg_add_null(&params, TEXT_ARRAY);
    sb_pg_add_array(&params, saga);
    sb_pg_add_int8(&params, begun_seq);
    return sb_pg_query(pg, sb_sql_tally_begin, &params, NULL, err);
}

sb_code_t sb_tally_forget(sb_pg_t *pg, const char *view, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, view);
    return sb_pg_query(pg, sb_sql_tally_forget, &params, NULL, err);
}

/* ---- comparing ---- */

static sb_code_t check_one(sb_pg_t *pg, const sb_lease_t *guard, const char *role, int64_t generation,
                           bool *more, sb_error_t *err)
{
    sb_pg_params_t held, params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *results[2] = {NULL, NULL};
    sb_lease_guard(guard, NULL, &held);
    sb_pg_add_text(&params, role);
    sb_pg_add_int8(&params, generation);
    sb_pg_add_int8(&params, STEP_BLOCKS * SB_TALLY_BLOCK);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &held);
    sb_pg_batch_add(&batch, sb_sql_tally_check, &params);
    sb_code_t code = sb_pg_batch_run(pg, &batch, results, NULL, err);
    if (code == SB_OK && sb_pg_rows(results[1]) > 0)
        *more |= sb_pg_get_int(results[1], 0, 1) - sb_pg_get_int(results[1], 0, 0) > SB_TALLY_BLOCK;
    sb_pg_result_free(results[0]);
    sb_pg_result_free(results[1]);
    return code;
}

sb_code_t sb_tally_check(sb_pg_t *pg, const sb_lease_t *guard, sb_tally_found_t *found, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    *found = (sb_tally_found_t){.complete = -1};
    sb_code_t code = sb_pg_query(pg, sb_sql_tally_readers, NULL, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++)
        code = check_one(pg, guard, sb_pg_get_text(rows, i, 0), sb_pg_get_int(rows, i, 1), &found->more, err);
    sb_pg_result_free(rows);
    rows = NULL;
    if (code == SB_OK)
        code = sb_tally_state(pg, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        int64_t looked = sb_pg_get_int(rows, i, 3);
        found->ranges += sb_pg_get_int(rows, i, 4);
        if (found->complete < 0 || looked < found->complete)
            found->complete = looked;
    }
    sb_pg_result_free(rows);
    return code;
}

/* ---- looking ---- */

sb_code_t sb_tally_state(sb_pg_t *pg, sb_pg_result_t **out, sb_error_t *err)
{
    return sb_pg_query(pg, sb_sql_tally_state, NULL, out, err);
}

sb_code_t sb_tally_gaps(sb_pg_t *pg, int64_t limit, sb_pg_result_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, limit);
    return sb_pg_query(pg, sb_sql_tally_gaps, &params, out, err);
}

sb_code_t sb_tally_accept(sb_pg_t *pg, const char *role, const char *by, const char *reason, int64_t *count,
                          sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    if (role)
        sb_pg_add_text(&params, role);
    else
        sb_pg_add_null(&params, SB_PG_TEXT);
    sb_pg_add_text(&params, by);
    sb_pg_add_text(&params, reason);
    sb_code_t code = sb_pg_query(pg, sb_sql_tally_accept, &params, &result, err);
    if (code == SB_OK)
        *count = sb_pg_affected(result);
    sb_pg_result_free(result);
    return code;
}
