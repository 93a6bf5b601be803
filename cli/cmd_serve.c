/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "events/store/access.h"
#include "migrations/list.h"
#include "server/daemon.h"

static sb_code_t migrate_first(const sb_cli_t *cli, sb_error_t *err)
{
    sb_pg_t *pg = NULL;
    sb_migrate_report_t report = {0, 0};
    sb_code_t code = sb_cli_pg(cli, true, &pg, err);
    if (code == SB_OK)
        code = sb_migrate(pg, SB_SCHEMA, sb_migrations, &report, err);
    if (code == SB_OK && report.applied > 0)
        code = sb_access_grant(pg, NULL, NULL, err);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_serve(sb_cli_t *cli, sb_error_t *err)
{
    const char *listen = sb_cli_option(cli, "listen");
    sb_code_t code = listen ? sb_config_set(cli->config, "http.listen", listen, err) : SB_OK;
    if (code == SB_OK && sb_cli_option(cli, "insecure-listen"))
        code = sb_config_set(cli->config, "http.insecure_listen", "true", err);
    if (code == SB_OK && sb_cli_option(cli, "migrate"))
        code = migrate_first(cli, err);
    return code == SB_OK ? sb_daemon_run(cli->config, err) : code;
}
