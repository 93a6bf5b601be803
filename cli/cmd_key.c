/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "server/keys.h"

sb_code_t sb_cmd_key_create(sb_cli_t *cli, sb_error_t *err)
{
    const char *scopes = sb_cli_option(cli, "scope");
    char text[SB_KEY_TEXT];
    int mask = 0;
    sb_pg_t *pg = NULL;
    if (!scopes)
        return sb_fail(err, SB_INVALID, "key create needs --scope: read, write, admin, separated by commas");
    sb_code_t code = sb_scope_parse(scopes, &mask, err);
    if (code == SB_OK)
        code = sb_cli_pg(cli, false, &pg, err);
    if (code == SB_OK)
        code = sb_key_create(pg, cli->argument[0], mask, text, err);
    sb_pg_close(&pg);
    if (code != SB_OK)
        return code;
    sb_cli_note(cli, "this is the only time the key is shown:");
    if (cli->out.format == SB_OUTPUT_TABLE) {
        (void)fprintf(cli->out.to, "%s\n", text);
        return SB_OK;
    }
    json_t *result = json_pack("{s:s, s:s, s:s}", "name", cli->argument[0], "scopes", scopes, "key", text);
    sb_output_json(&cli->out, result);
    json_decref(result);
    return SB_OK;
}

sb_code_t sb_cmd_key_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"ID", "/id"},
                                          {"NAME", "/name"},
                                          {"SCOPES", "/scopes"},
                                          {"CREATED", "/created_at"},
                                          {"REVOKED", "/revoked_at"},
                                          {NULL, NULL}};
    sb_pg_t *pg = NULL;
    sb_buf_t text = SB_BUF_INIT;
    json_t *items = NULL;
    sb_code_t code = sb_cli_pg(cli, false, &pg, err);
    if (code == SB_OK)
        code = sb_key_list(pg, &text, err);
    if (code == SB_OK)
        code = sb_json_parse(&items, sb_buf_slice(&text), "the list of keys", err);
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    json_decref(items);
    sb_buf_fini(&text);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_key_revoke(sb_cli_t *cli, sb_error_t *err)
{
    sb_pg_t *pg = NULL;
    sb_code_t code = sb_cli_pg(cli, false, &pg, err);
    if (code == SB_OK)
        code = sb_key_revoke(pg, cli->argument[0], err);
    sb_pg_close(&pg);
    if (code == SB_OK)
        sb_cli_note(cli, "%s is revoked; servers stop taking it within seconds", cli->argument[0]);
    return code;
}
