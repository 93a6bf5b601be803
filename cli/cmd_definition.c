/* What a saga's definition looks like.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "saga/query/graph.h"

#include <errno.h>
#include <unistd.h>

static sb_code_t read_registered(sb_cli_t *cli, json_t **body, sb_error_t *err)
{
    sb_registry_t registry;
    int64_t version = 0;
    sb_code_t code = sb_cli_option_int(cli, "version", 1, INT32_MAX, 0, &version, err);
    if (code == SB_OK)
        code = sb_registry_open(&registry, cli, err);
    if (code != SB_OK)
        return code;
    const sb_artifact_t *artifact =
        sb_catalog_artifact(registry.catalog, SB_ARTIFACT_SAGA, sb_slice(cli->argument[0]), (int)version);
    if (artifact)
        *body = json_deep_copy(artifact->body);
    else
        code = sb_fail(err, SB_NOT_FOUND, "%s is neither a file nor a registered saga%s", cli->argument[0],
                       version ? " of this version" : "");
    sb_registry_close(&registry);
    return code;
}

static bool looks_like_path(const char *what)
{
    size_t n = strlen(what);
    return strchr(what, '/') || (n > 5 && strcmp(what + n - 5, ".json") == 0);
}

sb_code_t sb_cmd_definition_graph(sb_cli_t *cli, sb_error_t *err)
{
    const char *what = cli->argument[0];
    json_t *body = NULL;
    sb_definition_t *definition = NULL;
    bool is_file = access(what, F_OK) == 0;
    if (!is_file && looks_like_path(what)) /* the database need not be asked */
        return sb_fail(err, SB_NOT_FOUND, "%s: %s", what, strerror(errno));
    sb_code_t code = is_file ? sb_json_read_file(&body, what, NULL, err) : read_registered(cli, &body, err);
    if (code == SB_OK) {
        if (is_file)
            code = sb_definition_check(body, NULL, err);
        if (code == SB_OK)
            code = sb_definition_compile(&definition, body, err);
        if (code != SB_OK && is_file)
            code = sb_context(err, code, "%s%s", what, err->pointer);
    }
    if (code == SB_OK) {
        sb_buf_t text = SB_BUF_INIT;
        sb_definition_graph(definition, &text);
        sb_output_text(&cli->out, sb_buf_slice(&text));
        sb_buf_fini(&text);
    }
    sb_definition_free(&definition);
    json_decref(body);
    return code;
}
