/* view list, view show: over HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "cli/remote.h"
#include "events/view/view.h"

sb_code_t sb_cmd_view_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"NAME", "/name"},     {"VERSION", "/version"},   {"GENERATION", "/generation"},
        {"STATE", "/state"},   {"LAG", "/lag_events"},    {"LAG MS", "/lag_ms"},
        {"PARKED", "/parked"}, {"OUTDATED", "/outdated"}, {"TITLE", "/title"},
        {NULL, NULL}};
    sb_remote_t *remote = NULL;
    json_t *page = NULL;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, "/v1/views", &page, err);
    if (code == SB_OK)
        sb_output_items(&cli->out, json_object_get(page, "items"), columns);
    json_decref(page);
    sb_remote_close(&remote);
    return code;
}

/* --where column=value, any number of them separated by commas. */
static sb_code_t add_filters(sb_buf_t *path, const char *where, sb_error_t *err)
{
    while (where && *where) {
        size_t n = strcspn(where, ",");
        const char *equals = memchr(where, '=', n);
        if (!equals || equals == where)
            return sb_fail(err, SB_INVALID, "--where %.*s: expected COLUMN=VALUE", (int)n, where);
        sb_buf_add_char(path, '&');
        sb_http_encode(path, (sb_slice_t){where, (size_t)(equals - where)});
        sb_buf_add_char(path, '=');
        sb_http_encode(path, (sb_slice_t){equals + 1, (size_t)(where + n - equals - 1)});
        where += n + (where[n] == ',');
    }
    return SB_OK;
}

static void add_parameter(sb_buf_t *path, const char *name, const char *value)
{
    if (!value)
        return;
    sb_buf_printf(path, "%c%s=", strchr(sb_buf_text(path), '?') ? '&' : '?', name);
    sb_http_encode(path, sb_slice(value));
}

static sb_code_t view_path(const sb_cli_t *cli, sb_buf_t *path, sb_error_t *err)
{
    int64_t limit;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, SB_VIEW_PAGE_MAX, 50, &limit, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_text(path, "/v1/views/");
    sb_http_encode(path, sb_slice(cli->argument[0]));
    if (cli->argument_count > 1) {
        sb_buf_add_char(path, '/');
        sb_http_encode(path, sb_slice(cli->argument[1]));
    } else {
        sb_buf_printf(path, "?limit=%lld", (long long)limit);
        add_parameter(path, "cursor", sb_cli_option(cli, "cursor"));
        add_parameter(path, "sort", sb_cli_option(cli, "sort"));
    }
    add_parameter(path, "table", sb_cli_option(cli, "table"));
    add_parameter(path, "fields", sb_cli_option(cli, "fields"));
    add_parameter(path, "after_seq", sb_cli_option(cli, "after-seq"));
    return cli->argument_count > 1 ? SB_OK : add_filters(path, sb_cli_option(cli, "where"), err);
}

static void print_page(sb_cli_t *cli, const json_t *page)
{
    sb_cli_print_page(cli, page, NULL);
    if (cli->out.format != SB_OUTPUT_JSON && !json_array_size(json_object_get(page, "items")))
        sb_cli_note(cli, "no rows");
}

sb_code_t sb_cmd_view_show(sb_cli_t *cli, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    json_t *answer = NULL;
    sb_code_t code = view_path(cli, &path, err);
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, sb_buf_text(&path), &answer, err);
    if (code == SB_OK && cli->argument_count > 1 && cli->out.format == SB_OUTPUT_TABLE)
        (void)json_object_del(answer, "links");
    if (code == SB_OK && cli->argument_count > 1)
        sb_output_object(&cli->out, answer);
    else if (code == SB_OK)
        print_page(cli, answer);
    json_decref(answer);
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}

sb_code_t sb_cmd_view_parked(sb_cli_t *cli, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    json_t *page = NULL;
    int64_t limit;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, SB_VIEW_PAGE_MAX, 50, &limit, err);
    sb_buf_printf(&path, "/v1/parked?limit=%lld", (long long)limit);
    add_parameter(&path, "view", cli->argument[0]);
    add_parameter(&path, "cursor", sb_cli_option(cli, "cursor"));
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
    if (code == SB_OK)
        print_page(cli, page);
    json_decref(page);
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}
