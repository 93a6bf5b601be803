/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "events/store/access.h"
#include "migrations/list.h"

/* Records the roles that were named, takes back what was given to the one to be removed, and gives all of
 * them their rights: a migration may have made tables. */
static sb_code_t grant_roles(const sb_cli_t *cli, sb_pg_t *pg, int *count, sb_buf_t *todo, sb_error_t *err)
{
    static const char *const kinds[][2] = {
        {"engine-role", "engine"}, {"client-role", "client"}, {"reader-role", "reader"}};
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && code == SB_OK; i++)
        if (sb_cli_option(cli, kinds[i][0]))
            code = sb_access_add(pg, sb_cli_option(cli, kinds[i][0]), kinds[i][1], err);
    if (code == SB_OK && sb_cli_option(cli, "remove-role"))
        code = sb_access_remove(pg, sb_cli_option(cli, "remove-role"), err);
    return code == SB_OK ? sb_access_grant(pg, count, todo, err) : code;
}

sb_code_t sb_cmd_migrate(sb_cli_t *cli, sb_error_t *err)
{
    const char *only = sb_cli_option(cli, "only");
    const char *schema = sb_cli_option(cli, "schema");
    if (only && strcmp(only, "client") != 0)
        return sb_fail(err, SB_INVALID, "--only %s: expected client", only);
    if (only && !schema)
        return sb_fail(err, SB_INVALID,
                       "migrate --only client needs --schema NAME: the service's own schema");
    if (!only && schema)
        return sb_fail(err, SB_INVALID, "--schema goes with --only client; the engine's schema is %s",
                       SB_SCHEMA);
    if (only && (sb_cli_option(cli, "engine-role") || sb_cli_option(cli, "client-role") ||
                 sb_cli_option(cli, "reader-role") || sb_cli_option(cli, "remove-role")))
        return sb_fail(err, SB_INVALID, "roles are the engine's: not with --only client");
    const char *name = only ? schema : SB_SCHEMA;
    sb_pg_t *pg = NULL;
    sb_migrate_report_t report = {0, 0};
    sb_code_t code = sb_cli_pg(cli, true, &pg, err);
    if (code == SB_OK)
        code = sb_migrate(pg, name, only ? sb_client_migrations : sb_migrations, &report, err);
    int roles = 0;
    sb_buf_t todo = SB_BUF_INIT;
    if (code == SB_OK && !only)
        code = grant_roles(cli, pg, &roles, &todo, err);
    sb_pg_close(&pg);
    if (code != SB_OK) {
        sb_buf_fini(&todo);
        return code;
    }
    json_t *result =
        json_pack("{s:s, s:i, s:i}", "schema", name, "applied", report.applied, "version", report.version);
    if (cli->out.format != SB_OUTPUT_TABLE)
        sb_output_json(&cli->out, result);
    else if (report.applied)
        sb_cli_note(cli, "schema %s: %d migration%s applied, now at version %d", name, report.applied,
                    report.applied == 1 ? "" : "s", report.version);
    else
        sb_cli_note(cli, "schema %s is at version %d already", name, report.version);
    if (todo.len)
        sb_cli_note(
            cli, "time limits free a stuck appender, and this role may not set them; as a superuser run:\n%s",
            sb_buf_text(&todo));
    sb_buf_fini(&todo);
    if (roles && cli->out.format == SB_OUTPUT_TABLE)
        sb_cli_note(cli, "%d role%s granted their rights", roles, roles == 1 ? " was" : "s were");
    json_decref(result);
    return SB_OK;
}
