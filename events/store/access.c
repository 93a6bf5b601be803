/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/access.h"

#include "events_sql.h"

sb_code_t sb_access_add(sb_pg_t *pg, const char *role, const char *kind, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, role);
    sb_pg_add_text(&params, kind);
    return sb_pg_query(pg, sb_sql_access_add, &params, NULL, err);
}

sb_code_t sb_access_remove(sb_pg_t *pg, const char *role, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, role);
    return sb_pg_query(pg, sb_sql_access_remove, &params, NULL, err);
}

sb_code_t sb_access_grant(sb_pg_t *pg, int *count, sb_buf_t *todo, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_access_grant, NULL, &rows, err);
    if (code == SB_OK && count)
        *count = (int)sb_pg_get_int(rows, 0, 0);
    if (code == SB_OK && todo && !sb_pg_is_null(rows, 0, 1))
        sb_buf_add_slice(todo, sb_pg_get_slice(rows, 0, 1));
    sb_pg_result_free(rows);
    return code;
}
