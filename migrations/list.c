/* SPDX-License-Identifier: Apache-2.0 */
#include "migrations/list.h"

#include "migrations_sql.h"

/* clang-format off: one a line */
const sb_migration_t sb_migrations[] = {
    {"0001_core", sb_sql_0001_core},
    {"0002_saga", sb_sql_0002_saga},
    {"0003_view", sb_sql_0003_view},
    {"0004_access", sb_sql_0004_access},
    {"0005_seal", sb_sql_0005_seal},
    {"0006_snapshot", sb_sql_0006_snapshot},
    {"0007_roles", sb_sql_0007_roles},
    {"0008_relay", sb_sql_0008_relay},
    {"0009_push", sb_sql_0009_push},
    {"0010_dead_letter", sb_sql_0003_dead_letter}, /* the tables that a service has, too */
    {"0011_tally", sb_sql_0011_tally},
    {"0012_erase", sb_sql_0012_erase},
    {NULL, NULL},
};
/* clang-format on */

const sb_migration_t sb_client_migrations[] = {
    {"0001_client", sb_sql_0001_client},
    {"0002_subscriber", sb_sql_0002_subscriber},
    {"0003_dead_letter", sb_sql_0003_dead_letter},
    {"0004_redrive", sb_sql_0004_redrive},
    {NULL, NULL},
};
