/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_definition.h"
#include "cli/git_files.h"
#include "cli/registry.h"
#include "events/view/view.h"
#include "saga/definition.h"

#include <unistd.h>

static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_SAGA] = sb_definition_check,
                                                               [SB_ARTIFACT_VIEW] = sb_view_check,
                                                               [SB_ARTIFACT_SUBSCRIPTION] = sb_push_check};

sb_code_t sb_cmd_schema_apply(sb_cli_t *cli, sb_error_t *err)
{
    sb_registry_t registry;
    sb_apply_report_t report = {0, 0};
    const char *dir = cli->argument_count ? cli->argument[0] : sb_config_get(cli->config, "schemas.dir");
    sb_code_t code = sb_registry_open(&registry, cli, err);
    if (code == SB_OK)
        sb_catalog_prove(registry.catalog, SB_ARTIFACT_VIEW, sb_view_prove);
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

/* ---- check ---- */

/* The message without the file and the place, which have columns of their own. */
static const char *bare(const char *message, const char *file, const char *pointer)
{
    size_t length = strlen(file);
    if (strncmp(message, file, length) != 0)
        return message;
    message += length;
    if (strncmp(message, ", at ", 5) == 0 && strncmp(message + 5, pointer, strlen(pointer)) == 0)
        message += 5 + strlen(pointer);
    return message + strspn(message, ":, ");
}

static void add_fault(void *context, sb_code_t code, const char *file, const char *pointer,
                      const char *message)
{
    json_t *item = json_pack("{s:s, s:s, s:s, s:s}", "file", file, "pointer", pointer, "code",
                             sb_code_name(code), "fault", bare(message, file, pointer));
    (void)json_array_append_new(context, item);
}

static sb_code_t check_files(sb_cli_t *cli, sb_catalog_t *released, const char *against, const char *dir,
                             json_t *faults, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"FILE", "/file"}, {"AT", "/pointer"}, {"FAULT", "/fault"}, {NULL, NULL}};
    int files = 0;
    sb_code_t code = sb_catalog_check(released, against, dir, checks, add_fault, faults, &files, err);
    if (code != SB_OK)
        return code;
    size_t count = json_array_size(faults);
    if (count > 0 || cli->out.format != SB_OUTPUT_TABLE)
        sb_output_items(&cli->out, faults, columns);
    if (count > 0)
        return sb_fail(err, SB_INVALID, "%s: %zu fault%s", dir, count, count == 1 ? "" : "s");
    if (files == 0) /* a wrong directory must not pass for a right one */
        return sb_fail(err, SB_NOT_FOUND, "%s has no file in events/, views/ or sagas/", dir);
    sb_cli_note(cli, "%s: %d files, no fault", dir, files);
    return SB_OK;
}

/* Where the files of a revision lie for the moment says nothing to who asked. */
static void name_as_given(sb_error_t *err, const char *place, const char *given)
{
    char text[sizeof err->message];
    const char *at = err && place[0] ? strstr(err->message, place) : NULL;
    if (!at)
        return;
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - err->message), err->message, given,
                   at + strlen(place));
    memcpy(err->message, text, sizeof text);
}

/* --against: a directory, or what git has. */
static sb_code_t check_against(sb_cli_t *cli, sb_catalog_t *released, const char *dir, json_t *faults,
                               sb_error_t *err)
{
    const char *against = sb_cli_option(cli, "against");
    sb_git_files_t files;
    if (against && sb_git_is(against)) {
        sb_code_t code = sb_git_files_open(&files, against, dir, err);
        if (code == SB_OK)
            code = check_files(cli, released, files.dir, dir, faults, err);
        if (code != SB_OK)
            name_as_given(err, files.dir, against);
        sb_git_files_close(&files);
        return code;
    }
    if (against && access(against, F_OK) != 0)
        return sb_fail(err, SB_NOT_FOUND,
                       "--against %s: there is no such directory; a git revision is written " SB_GIT_SCHEME
                       "%s",
                       against, against);
    return check_files(cli, released, against, dir, faults, err);
}

sb_code_t sb_cmd_schema_check(sb_cli_t *cli, sb_error_t *err)
{
    sb_registry_t registry = {NULL, NULL};
    const char *dir = cli->argument_count ? cli->argument[0] : sb_config_get(cli->config, "schemas.dir");
    json_t *faults = json_array();
    sb_code_t code = sb_cli_option(cli, "registered") ? sb_registry_open(&registry, cli, err)
                                                      : sb_catalog_new(&registry.catalog, err);
    sb_error_t unreadable = SB_ERROR_INIT;
    if (code == SB_OK && sb_catalog_complain(registry.catalog, &unreadable) != SB_OK)
        sb_cli_note(cli, "not compared: %s", unreadable.message);
    if (code == SB_OK)
        code = check_against(cli, registry.catalog, dir, faults, err);
    sb_registry_close(&registry);
    json_decref(faults);
    return code;
}

/* ---- list ---- */

static const char *const kind_names[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_EVENT] = "event",
                                                          [SB_ARTIFACT_SAGA] = "saga",
                                                          [SB_ARTIFACT_VIEW] = "view",
                                                          [SB_ARTIFACT_SUBSCRIPTION] = "subscription"};

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
