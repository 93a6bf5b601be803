/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"

#include "migrations/list.h"

sb_code_t sb_registry_open(sb_registry_t *registry, const sb_cli_t *cli, sb_error_t *err)
{
    *registry = (sb_registry_t){NULL, NULL};
    sb_code_t code = sb_cli_pg(cli, false, &registry->pg, err);
    if (code == SB_OK)
        code = sb_migrate_check(registry->pg, SB_SCHEMA, sb_migrations, err);
    if (code == SB_OK)
        code = sb_catalog_new(&registry->catalog, err);
    if (code == SB_OK)
        code = sb_catalog_load(registry->catalog, registry->pg, err);
    if (code != SB_OK)
        sb_registry_close(registry);
    return code;
}

void sb_registry_close(sb_registry_t *registry)
{
    sb_catalog_free(&registry->catalog);
    sb_pg_close(&registry->pg);
}
