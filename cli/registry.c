/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"

#include "base/clock.h"
#include "events/store/store.h"
#include "migrations/list.h"

#include <string.h>

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

sb_code_t sb_registry_until(sb_registry_t *registry, const sb_cli_t *cli, int64_t *seq, sb_error_t *err)
{
    const char *text = sb_cli_option(cli, "until");
    sb_store_t *store = NULL;
    int64_t time_us = 0;
    *seq = 0;
    if (!text)
        return SB_OK;
    if (text[strspn(text, "0123456789")] == '\0')
        return sb_cli_option_int(cli, "until", 1, INT64_MAX, 0, seq, err);
    if (!sb_time_parse(sb_slice(text), &time_us))
        return sb_fail(err, SB_INVALID,
                       "--until %s: expected a sequence number, or a time such as "
                       "2026-11-21T05:19:35Z",
                       text);
    sb_code_t code = sb_store_new(&store, registry->pg, registry->catalog, err);
    if (code == SB_OK)
        code = sb_store_seq_since(store, time_us, seq, err);
    sb_store_close(&store);
    *seq -= code == SB_OK;
    if (code == SB_OK && *seq == 0)
        return sb_fail(err, SB_NOT_FOUND, "--until %s: no event is older", text);
    return code;
}
