/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "events/view.h"
#include "saga/definition.h"

static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {
    [SB_ARTIFACT_SAGA] = sb_definition_check, [SB_ARTIFACT_VIEW] = sb_view_check};

sb_code_t sb_cmd_schema_apply(sb_cli_t *cli, sb_error_t *err)
{
    sb_registry_t registry;
    sb_apply_report_t report = {0, 0};
    const char *dir = cli->argument_count ? cli->argument[0] : sb_config_get(cli->config, "schemas.dir");
    sb_code_t code = sb_registry_open(&registry, cli, err);
    if (code == SB_OK)
        code = sb_catalog_apply(registry.catalog, registry.pg, dir, checks, &report, err);
    sb_registry_close(&registry);
    if (code != SB_OK)
        return code;
    json_t *result =
        json_pack("{s:s, s:i, s:i}", "dir", dir, "added", report.added, "unchanged", report.unchanged);
    if (cli->out.format == SB_OUTPUT_TABLE)
        sb_cli_note(cli, "%s: %d registered, %d were there already", dir, report.added, report.unchanged);
    else
        sb_output_json(&cli->out, result);
    json_decref(result);
    return SB_OK;
}

static const char *const kind_names[SB_ARTIFACT_KINDS] = {
    [SB_ARTIFACT_EVENT] = "event", [SB_ARTIFACT_SAGA] = "saga", [SB_ARTIFACT_VIEW] = "view"};

static sb_code_t add_artifact(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    char hash[SB_HASH_TEXT];
    json_t *item =
        json_pack("{s:s, s:s, s:i, s:s}", "kind", kind_names[artifact->kind], "name", artifact->name,
                  "version", artifact->version, "hash", sb_hash_format(&artifact->hash, hash));
    return json_array_append_new(context, item) == 0 ? SB_OK : sb_fail(err, SB_NO_MEMORY, "out of memory");
}

sb_code_t sb_cmd_schema_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"KIND", "/kind"}, {"NAME", "/name"}, {"VERSION", "/version"}, {"HASH", "/hash"}, {NULL, NULL}};
    sb_registry_t registry;
    json_t *items = json_array();
    sb_code_t code = sb_registry_open(&registry, cli, err);
    for (int kind = 0; code == SB_OK && kind < SB_ARTIFACT_KINDS; kind++)
        code = sb_catalog_each(registry.catalog, (sb_artifact_kind_t)kind, add_artifact, items, err);
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    sb_registry_close(&registry);
    json_decref(items);
    return code;
}
