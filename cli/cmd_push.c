/* push list|pause|resume: push subscriptions, by the database.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/migrate.h"
#include "bus/push/push_admin.h"
#include "cli/commands.h"
#include "migrations/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sb_code_t open_store(const sb_cli_t *cli, sb_pg_t **pg, sb_error_t *err)
{
    sb_code_t code = sb_cli_pg(cli, false, pg, err);
    return code == SB_OK ? sb_migrate_check(*pg, SB_SCHEMA, sb_migrations, err) : code;
}

sb_code_t sb_cmd_push_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"NAME", "/name"},
                                          {"VERSION", "/version"},
                                          {"STATE", "/state"},
                                          {"ENDPOINT", "/endpoint"},
                                          {"SEQ", "/seq"},
                                          {"BEHIND", "/behind"},
                                          {"DELIVERED", "/delivered"},
                                          {"DEAD", "/dead_letters"},
                                          {"KEYS HELD", "/keys_held"},
                                          {"PROBLEM", "/problem"},
                                          {NULL, NULL}};
    const char *name = cli->argument_count ? cli->argument[0] : NULL;
    sb_pg_t *pg = NULL;
    json_t *items = NULL;
    sb_code_t code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_push_list(pg, name, &items, err);
    if (code == SB_OK && name)
        sb_output_object(&cli->out, json_array_get(items, 0));
    else if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    json_decref(items);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_push_pause(sb_cli_t *cli, sb_error_t *err)
{
    const char *reason = sb_cli_option(cli, "reason");
    const char *user = getenv("USER");
    char host[64] = "";
    char by[128];
    sb_pg_t *pg = NULL;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(by, sizeof by, "%s@%s", user ? user : "?", host);
    sb_code_t code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_push_pause(pg, cli->argument[0], by, reason, err);
    if (code == SB_OK)
        sb_cli_note(cli, "%s is paused", cli->argument[0]);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_push_resume(sb_cli_t *cli, sb_error_t *err)
{
    int64_t after = -1;
    sb_pg_t *pg = NULL;
    sb_code_t code = sb_cli_option_int(cli, "after", 0, INT64_MAX, -1, &after, err);
    if (code == SB_OK)
        code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_push_resume(pg, cli->argument[0], after, err);
    if (code == SB_OK)
        sb_cli_note(cli, "%s goes on", cli->argument[0]);
    sb_pg_close(&pg);
    return code;
}
