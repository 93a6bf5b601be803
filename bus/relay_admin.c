/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay_admin.h"

#include "bus_sql.h"

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
