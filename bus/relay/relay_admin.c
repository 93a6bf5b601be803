/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_admin.h"

#include "bus_sql.h"

#include <stdio.h>

sb_code_t sb_relay_fork(sb_pg_t *pg, int64_t *incarnation, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_store_fork, NULL, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) != 1)
        code = sb_fail(err, SB_NOT_FOUND, "this database has no store: run `sagabus migrate`");
    if (code == SB_OK)
        *incarnation = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_relay_withheld(sb_pg_t *pg, int64_t limit, sb_pg_result_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, limit);
    return sb_pg_query(pg, sb_sql_relay_withheld_list, &params, out, err);
}

sb_code_t sb_relay_rebuild_request(sb_pg_t *pg, const char *category, bool recreate, const char *by,
                                   int64_t *rebuild_no, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, category);
    sb_pg_add_bool(&params, recreate);
    sb_pg_add_text(&params, by);
    sb_code_t code = sb_pg_query(pg, sb_sql_relay_rebuild_request, &params, &rows, err);
    if (code == SB_OK)
        *rebuild_no = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_relay_rebuild_look(sb_pg_t *pg, int64_t rebuild_no, sb_relay_rebuild_state_t *out,
                                sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, rebuild_no);
    sb_code_t code = sb_pg_query(pg, sb_sql_relay_rebuild_show, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) != 1)
        code = sb_fail(err, SB_NOT_FOUND, "no such request");
    if (code == SB_OK) {
        *out =
            (sb_relay_rebuild_state_t){.done_seq = sb_pg_get_int(rows, 0, 2),
                                       .upto_seq = sb_pg_is_null(rows, 0, 3) ? 0 : sb_pg_get_int(rows, 0, 3),
                                       .sent = sb_pg_get_int(rows, 0, 4),
                                       .ended = sb_pg_get_bool(rows, 0, 5),
                                       .relay_runs = sb_pg_get_bool(rows, 0, 7)};
        if (!sb_pg_is_null(rows, 0, 6))
            (void)snprintf(out->error, sizeof out->error, "%s", sb_pg_get_text(rows, 0, 6));
    }
    sb_pg_result_free(rows);
    return code;
}
