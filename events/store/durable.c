/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/durable.h"

#include "base/log.h"
#include "events_sql.h"

sb_code_t sb_durable_check(sb_pg_t *pg, bool allow_unsafe, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_durable_settings, NULL, &rows, err);
    if (code != SB_OK)
        return code;
    bool synced = sb_pg_get_bool(rows, 0, 0);
    bool whole = sb_pg_get_bool(rows, 0, 1);
    sb_pg_result_free(rows);
    if (synced && whole)
        return SB_OK;
    const char *what = !synced && !whole ? "fsync=off and full_page_writes=off"
                       : synced          ? "full_page_writes=off"
                                         : "fsync=off";
    if (!allow_unsafe)
        return sb_fail(err, SB_UNSUPPORTED,
                       "PostgreSQL runs with %s: a crash of the machine can lose events that were "
                       "acknowledged, and history "
                       "with them. Set it to on (no restart is needed), or, for data that may be lost, "
                       "store.allow_unsafe=true",
                       what);
    sb_log(SB_LOG_WARN, "STORE-UNSAFE",
           "PostgreSQL runs with %s, as store.allow_unsafe allows: a crash can lose events", what);
    return SB_OK;
}
