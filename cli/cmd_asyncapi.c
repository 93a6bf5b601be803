/* schema asyncapi: the AsyncAPI document of what is registered, or of a directory of files.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/asyncapi.h"
#include "cli/registry.h"
#include "events/builtin.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef sb_code_t (*add_fn)(sb_asyncapi_t *asyncapi, const json_t *file, sb_error_t *err);

typedef struct adding {
    sb_asyncapi_t *asyncapi;
    add_fn add;
} adding_t;

static sb_code_t add_artifact(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    const adding_t *adding = context;
    return adding->add(adding->asyncapi, artifact->body, err);
}

static sb_code_t add_registered(const sb_cli_t *cli, sb_asyncapi_t *asyncapi, sb_error_t *err)
{
    sb_registry_t registry;
    adding_t events = {asyncapi, sb_asyncapi_add_event}, sagas = {asyncapi, sb_asyncapi_add_saga};
    sb_code_t code = sb_registry_open(&registry, cli, err);
    if (code == SB_OK)
        code = sb_catalog_each(registry.catalog, SB_ARTIFACT_EVENT, add_artifact, &events, err);
    if (code == SB_OK)
        code = sb_catalog_each(registry.catalog, SB_ARTIFACT_SAGA, add_artifact, &sagas, err);
    sb_registry_close(&registry);
    return code;
}

/* ---- files ---- */

static sb_code_t add_text(sb_asyncapi_t *asyncapi, sb_slice_t text, const char *what, add_fn add,
                          sb_error_t *err)
{
    json_t *file = NULL;
    sb_code_t code = sb_json_parse(&file, text, what, err);
    if (code == SB_OK)
        code = add(asyncapi, file, err);
    json_decref(file);
    return code == SB_OK ? SB_OK : sb_context(err, code, "%s", what);
}

static sb_code_t add_file(sb_asyncapi_t *asyncapi, const char *folder, const char *name, add_fn add,
                          sb_error_t *err)
{
    sb_buf_t path = SB_BUF_INIT;
    json_t *file = NULL;
    sb_buf_printf(&path, "%s/%s", folder, name);
    sb_code_t code = sb_json_read_file(&file, sb_buf_text(&path), NULL, err);
    if (code == SB_OK) {
        code = add(asyncapi, file, err);
        if (code != SB_OK)
            code = sb_context(err, code, "%s", sb_buf_text(&path));
    }
    json_decref(file);
    sb_buf_fini(&path);
    return code;
}

static bool is_json(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && name[0] != '.' && strcmp(name + n - 5, ".json") == 0;
}

/* A folder that is not there has none. */
static sb_code_t add_folder(sb_asyncapi_t *asyncapi, const char *dir, const char *kind, add_fn add,
                            sb_error_t *err)
{
    sb_buf_t folder = SB_BUF_INIT;
    sb_buf_printf(&folder, "%s/%s", dir, kind);
    DIR *open = opendir(sb_buf_text(&folder));
    sb_code_t code = SB_OK;
    if (!open && errno != ENOENT)
        code = sb_fail(err, SB_UNAVAILABLE, "%s: %s", sb_buf_text(&folder), strerror(errno));
    for (struct dirent *entry; code == SB_OK && open && (entry = readdir(open));)
        if (is_json(entry->d_name))
            code = add_file(asyncapi, sb_buf_text(&folder), entry->d_name, add, err);
    if (open)
        (void)closedir(open);
    sb_buf_fini(&folder);
    return code;
}

static sb_code_t add_directory(sb_asyncapi_t *asyncapi, const char *dir, sb_error_t *err)
{
    DIR *open = opendir(dir);
    if (!open)
        return sb_cli_file_failed(dir, errno, err);
    (void)closedir(open);
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && sb_builtin_schemas[i]; i++)
        code = add_text(asyncapi, sb_slice(sb_builtin_schemas[i]), "a built-in event", sb_asyncapi_add_event,
                        err);
    if (code == SB_OK)
        code = add_folder(asyncapi, dir, "events", sb_asyncapi_add_event, err);
    return code == SB_OK ? add_folder(asyncapi, dir, "sagas", sb_asyncapi_add_saga, err) : code;
}

/* ---- the command ---- */

static sb_code_t write_out(sb_cli_t *cli, const sb_buf_t *text, sb_error_t *err)
{
    const char *path = sb_cli_option(cli, "file");
    if (!path) {
        sb_output_text(&cli->out, sb_buf_slice(text));
        return SB_OK;
    }
    FILE *to = fopen(path, "w");
    bool written = to && fwrite(text->ptr, 1, text->len, to) == text->len;
    if (to && fclose(to) != 0)
        written = false;
    return written ? SB_OK : sb_fail(err, SB_INVALID, "write %s: %s", path, strerror(errno));
}

sb_code_t sb_cmd_schema_asyncapi(sb_cli_t *cli, sb_error_t *err)
{
    sb_asyncapi_t *asyncapi = NULL;
    sb_buf_t text = SB_BUF_INIT;
    sb_code_t code = sb_asyncapi_new(&asyncapi, cli->config, err);
    if (code == SB_OK)
        code = cli->argument_count ? add_directory(asyncapi, cli->argument[0], err)
                                   : add_registered(cli, asyncapi, err);
    if (code == SB_OK)
        code = sb_asyncapi_write(asyncapi, &text, err);
    if (code == SB_OK)
        code = write_out(cli, &text, err);
    sb_buf_fini(&text);
    sb_asyncapi_free(&asyncapi);
    return code;
}
