/* What a saga's definition looks like.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "saga/nesting.h"
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

/* ---- a file ---- */

static sb_code_t add_beside(sb_catalog_t *beside, const char *path, const json_t *body, sb_error_t *err);

/* A file that is not there, or has faults of its own, is left out. */
static sb_code_t add_child(sb_catalog_t *beside, const char *path, const char *child, sb_error_t *err)
{
    const char *slash = strrchr(path, '/');
    json_t *body = NULL;
    sb_buf_t at = SB_BUF_INIT, text = SB_BUF_INIT;
    sb_artifact_t artifact = {.kind = SB_ARTIFACT_SAGA, .name = child, .version = 1};
    sb_buf_printf(&at, "%.*s%s.json", slash ? (int)(slash + 1 - path) : 0, path, child);
    sb_code_t code = sb_json_read_file(&body, sb_buf_text(&at), NULL, NULL);
    if (code == SB_OK && sb_definition_check(body, NULL, NULL) == SB_OK) {
        sb_json_dump(body, &text);
        sb_hash_bytes(sb_buf_slice(&text), &artifact.hash);
        artifact.body = body;
        code = sb_catalog_add(beside, &artifact, sb_buf_slice(&text), 0, err);
        if (code == SB_OK)
            code = add_beside(beside, sb_buf_text(&at), body, err);
    } else {
        code = SB_OK;
    }
    sb_buf_fini(&text);
    sb_buf_fini(&at);
    json_decref(body);
    return code;
}

/* The sagas that are steps of it, and theirs, from the files beside it. */
static sb_code_t add_beside(sb_catalog_t *beside, const char *path, const json_t *body, sb_error_t *err)
{
    size_t i;
    json_t *step;
    sb_code_t code = SB_OK;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        const char *child = json_string_value(json_object_get(step, "saga"));
        if (code == SB_OK && child && !sb_catalog_artifact(beside, SB_ARTIFACT_SAGA, sb_slice(child), 0))
            code = add_child(beside, path, child, err);
    }
    return code;
}

static sb_code_t check_file(const char *path, const json_t *body, const sb_definition_t *definition,
                            sb_error_t *err)
{
    sb_catalog_t *beside = NULL;
    sb_code_t code = sb_definition_check(body, NULL, err);
    if (code == SB_OK)
        code = sb_catalog_new(&beside, err);
    if (code == SB_OK)
        code = add_beside(beside, path, body, err);
    if (code == SB_OK)
        code = sb_nesting_circle(definition, beside, err);
    sb_catalog_free(&beside);
    return code;
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
        code = sb_definition_compile(&definition, body, err);
        if (code == SB_OK && is_file)
            code = check_file(what, body, definition, err);
        if (code != SB_OK && is_file)
            code = sb_context(err, code, "%s", what);
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
