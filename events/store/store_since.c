/* From a time to a place in the history.
 *
 * Times rise with seq nearly, not surely: appenders run side by side, and a client may give an event a time
 * of its own. So no search by halves finds the first event of a time; the ranges are looked at in their
 * order.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_internal.h"

#include "events_sql.h"

#define WINDOW_SEQS INT64_C(200000) /* of one statement: a fraction of a second */

static sb_code_t look(sb_store_t *store, int64_t time_us, int64_t after, int64_t to, int64_t *found,
                      sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_time(&params, time_us);
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    sb_code_t code = sb_pg_query(store->pg, sb_sql_event_since, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0)
        *found = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return code;
}

/* Everything up to *seq is older. */
static sb_code_t skip_sealed(sb_store_t *store, int64_t time_us, int64_t *seq, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_time(&params, time_us);
    sb_code_t code = sb_pg_query(store->pg, sb_sql_seal_before, &params, &rows, err);
    *seq = code == SB_OK && sb_pg_rows(rows) > 0 ? sb_pg_get_int(rows, 0, 0) : 0;
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_store_seq_since(sb_store_t *store, int64_t time_us, int64_t *seq, sb_error_t *err)
{
    int64_t safe = 0, found = 0, after = 0;
    sb_code_t code = sb_store_safe_seq(store, &safe, err);
    *seq = 0;
    if (code == SB_OK)
        code = skip_sealed(store, time_us, &after, err);
    for (; code == SB_OK && !found && after < safe; after += WINDOW_SEQS)
        code =
            look(store, time_us, after, safe - after < WINDOW_SEQS ? safe : after + WINDOW_SEQS, &found, err);
    if (code == SB_OK)
        *seq = found ? found : safe + 1;
    return code;
}
