/* The saga commands: all over HTTP, so that they work from anywhere with a key.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/scan.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "cli/trace.h"
#include "sagabus/id.h"

#include <stdlib.h>

#define SERVER_WAIT_MS 30000 /* one request asks for so long at most; after it we ask again */

static const char *status_of(const json_t *saga)
{
    const char *status = json_string_value(json_object_get(saga, "status"));
    return status ? status : "";
}

static bool is_over(const json_t *saga)
{
    const char *status = status_of(saga);
    return strcmp(status, "completed") == 0 || strcmp(status, "compensated") == 0 ||
           strcmp(status, "failed") == 0;
}

/* ---- which saga ---- */

/* TYPE/KEY: asks the server for the id. */
static sb_code_t find_by_key(sb_remote_t *remote, const char *reference, const char *slash, sb_buf_t *id,
                             sb_error_t *err)
{
    sb_buf_t path = SB_BUF_INIT;
    json_t *page = NULL;
    sb_buf_add_text(&path, "/v1/sagas?type=");
    sb_http_encode(&path, (sb_slice_t){reference, (size_t)(slash - reference)});
    sb_buf_add_text(&path, "&key=");
    sb_http_encode(&path, sb_slice(slash + 1));
    sb_code_t code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
    if (code == SB_OK) {
        const char *found = json_string_value(sb_json_at(page, SB_SLICE("/items/0/id")));
        if (found)
            sb_buf_add_text(id, found);
        else
            code = sb_fail(err, SB_NOT_FOUND, "there is no saga %s", reference);
    }
    json_decref(page);
    sb_buf_fini(&path);
    return code;
}

/* An id, or TYPE/KEY. */
sb_code_t sb_remote_saga_id(sb_remote_t *remote, const char *reference, sb_buf_t *id, sb_error_t *err)
{
    sb_uuid_t uuid;
    const char *slash = strchr(reference, '/');
    if (slash && slash != reference && slash[1])
        return find_by_key(remote, reference, slash, id, err);
    if (!sb_uuid_parse(reference, strlen(reference), &uuid))
        return sb_fail(err, SB_INVALID, "%s: expected the id of a saga, or TYPE/KEY", reference);
    sb_buf_add_text(id, reference);
    return SB_OK;
}

static sb_code_t fetch(sb_remote_t *remote, const char *id, const char *view, json_t **out, sb_error_t *err)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/sagas/%s%s", id, view);
    return sb_remote_get(remote, path, out, err);
}

sb_code_t sb_remote_saga(sb_remote_t *remote, const char *reference, const char *view, json_t **out,
                         sb_error_t *err)
{
    sb_buf_t id = SB_BUF_INIT;
    sb_code_t code = sb_remote_saga_id(remote, reference, &id, err);
    if (code == SB_OK)
        code = fetch(remote, sb_buf_text(&id), view, out, err);
    sb_buf_fini(&id);
    return code;
}

/* ---- showing ---- */

static void draw(sb_cli_t *cli, const json_t *saga)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_trace_style_t style = {
        .width = cli->out.width, .utf8 = cli->out.utf8, .color = cli->out.color, .now_us = sb_wall_us()};
    sb_trace_draw(saga, &style, &text);
    sb_output_text(&cli->out, sb_buf_slice(&text));
    sb_buf_fini(&text);
}

static void show(sb_cli_t *cli, const json_t *saga)
{
    static const sb_column_t columns[] = {
        {"NAME", "/name"},      {"PARTICIPANT", "/participant"},     {"STATUS", "/status"},
        {"TRIES", "/attempts"}, {"UNDO", "/compensation/status"},    {"RESULT", "/result"},
        {"ERROR", "/error"},    {"CONTRADICTED", "/anomaly/reason"}, {NULL, NULL}};
    json_t *head = json_copy((json_t *)(uintptr_t)saga);
    json_t *steps = json_incref(json_object_get(saga, "steps"));
    (void)json_object_del(head, "steps");
    (void)json_object_del(head, "history");
    (void)json_object_del(head, "links");
    sb_output_object(&cli->out, head);
    if (json_array_size(steps)) {
        (void)fputc('\n', cli->out.to);
        sb_output_items(&cli->out, steps, columns);
    }
    json_decref(steps);
    json_decref(head);
}

static void print(sb_cli_t *cli, const json_t *saga)
{
    if (cli->out.format == SB_OUTPUT_TABLE)
        show(cli, saga);
    else
        sb_output_json(&cli->out, saga);
}

static sb_code_t read_one(sb_cli_t *cli, json_t **saga, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_saga(remote, cli->argument[0], "", saga, err);
    sb_remote_close(&remote);
    return code;
}

sb_code_t sb_cmd_saga_show(sb_cli_t *cli, sb_error_t *err)
{
    json_t *saga = NULL;
    sb_code_t code = read_one(cli, &saga, err);
    if (code == SB_OK)
        print(cli, saga);
    json_decref(saga);
    return code;
}

sb_code_t sb_cmd_saga_trace(sb_cli_t *cli, sb_error_t *err)
{
    json_t *saga = NULL;
    sb_code_t code = read_one(cli, &saga, err);
    if (code == SB_OK && cli->out.format == SB_OUTPUT_TABLE)
        draw(cli, saga);
    else if (code == SB_OK)
        sb_output_json(&cli->out, saga);
    json_decref(saga);
    return code;
}

/* ---- start ---- */

static sb_code_t start_body(const sb_cli_t *cli, sb_buf_t *body, sb_error_t *err)
{
    const char *input = sb_cli_option(cli, "input");
    const char *key = sb_cli_option(cli, "key");
    sb_buf_t text = SB_BUF_INIT;
    size_t bad_at = 0;
    sb_code_t code = sb_cli_content(input ? input : "{}", &text, err);
    if (code == SB_OK && !sb_scan_valid(sb_buf_slice(&text), &bad_at))
        code = sb_fail(err, SB_INVALID, "--input is not JSON: byte %zu", bad_at);
    if (code == SB_OK) {
        sb_buf_add_text(body, "{\"type\":");
        sb_buf_add_json(body, sb_slice(cli->argument[0]));
        if (key) {
            sb_buf_add_text(body, ",\"key\":");
            sb_buf_add_json(body, sb_slice(key));
        }
        sb_buf_add_text(body, ",\"input\":");
        sb_buf_add_slice(body, sb_buf_slice(&text));
        sb_buf_add_char(body, '}');
        if (sb_buf_failed(body))
            code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    }
    sb_buf_fini(&text);
    return code;
}

/* Asks until the saga is over or the time is; *saga becomes the whole of it, as seen last. */
static sb_code_t follow(sb_remote_t *remote, json_t **saga, int64_t until_us, sb_error_t *err)
{
    char id[SB_UUID_TEXT];
    int64_t pause_ms = 50;
    const char *given = json_string_value(json_object_get(*saga, "id"));
    (void)snprintf(id, sizeof id, "%s", given ? given : "");
    for (;;) {
        json_t *now = NULL;
        sb_code_t code = fetch(remote, id, "", &now, err);
        if (code != SB_OK)
            return code;
        json_decref(*saga);
        *saga = now;
        if (is_over(now))
            return SB_OK;
        if (sb_mono_us() >= until_us)
            return sb_fail(err, SB_TIMEOUT, "saga %s is still %s", id, status_of(now));
        sb_sleep_ms(pause_ms);
        pause_ms = pause_ms < 500 ? pause_ms * 2 : 500;
    }
}

static sb_code_t post_start(sb_cli_t *cli, sb_remote_t *remote, int64_t wait_ms, int *status, json_t **saga,
                            sb_error_t *err)
{
    char path[64] = "/v1/sagas";
    sb_buf_t body = SB_BUF_INIT;
    sb_code_t code = start_body(cli, &body, err);
    if (wait_ms > SERVER_WAIT_MS)
        wait_ms = SERVER_WAIT_MS;
    if (wait_ms > 0)
        (void)snprintf(path, sizeof path, "/v1/sagas?wait=%lldms", (long long)wait_ms);
    if (code == SB_OK) {
        sb_remote_call_t call = {.method = "POST",
                                 .path = path,
                                 .body = sb_buf_slice(&body),
                                 .timeout_ms = 30000 + (uint32_t)wait_ms};
        code = sb_remote_send(remote, &call, status, saga, err);
    }
    if (code == SB_UNKNOWN_OUTCOME)
        code =
            sb_context(err, code, "%s",
                       sb_cli_option(cli, "key") ? "run it again with the same key to see what happened"
                                                 : "it may have started; with --key it could be asked again");
    sb_buf_fini(&body);
    return code;
}

sb_code_t sb_cmd_saga_start(sb_cli_t *cli, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    json_t *saga = NULL;
    int status = 0;
    int64_t wait_ms = 0;
    bool wait = sb_cli_option(cli, "wait") != NULL;
    int64_t begin_us = sb_mono_us();
    sb_code_t code = sb_cli_option_ms(cli, "timeout", 60000, &wait_ms, err);
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = post_start(cli, remote, wait ? wait_ms : 0, &status, &saga, err);
    if (code == SB_OK && !wait && status == 200)
        sb_cli_note(cli, "this key was there already: this is its saga");
    if (code == SB_OK && wait)
        code = follow(remote, &saga, begin_us + wait_ms * 1000, err);
    if (saga)
        print(cli, saga);
    if (code == SB_OK && wait && strcmp(status_of(saga), "completed") != 0)
        cli->exit_code = SB_EXIT_SAGA_UNDONE;
    json_decref(saga);
    sb_remote_close(&remote);
    return code;
}

/* ---- list ---- */

static void add_query(sb_buf_t *path, const char *name, const char *value)
{
    if (!value)
        return;
    sb_buf_printf(path, "%c%s=", strchr(sb_buf_text(path), '?') ? '&' : '?', name);
    sb_http_encode(path, sb_slice(value));
}

/* Nobody shall take the answer for all sagas at a step. */
static void note_trouble(const sb_cli_t *cli)
{
    if (!sb_cli_option(cli, "step") && !sb_cli_option(cli, "participant"))
        return;
    if (sb_cli_option(cli, "attention") || cli->out.format != SB_OUTPUT_TABLE)
        return;
    sb_cli_note(cli,
                "these are in trouble there; a saga that only waits for an answer or its next try is not "
                "found by its step: --status started, and `sagabus saga explain`");
}

sb_code_t sb_cmd_saga_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"ID", "/id"},
                                          {"TYPE", "/type"},
                                          {"KEY", "/key"},
                                          {"STATUS", "/status"},
                                          {"STARTED", "/started_at"},
                                          {"ENDED", "/ended_at"},
                                          {"ATTENTION", "/attention"},
                                          {"STEP", "/step"},
                                          {"ERROR", "/error"},
                                          {NULL, NULL}};
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    json_t *page = NULL;
    int64_t limit;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, 500, 50, &limit, err);
    char limit_text[24];
    (void)snprintf(limit_text, sizeof limit_text, "%lld", (long long)limit);
    sb_buf_add_text(&path, "/v1/sagas");
    add_query(&path, "limit", limit_text);
    for (const sb_saga_filter_option_t *filter = sb_saga_filter_options; filter->option; filter++) {
        const char *value = sb_cli_option(cli, filter->option);
        add_query(&path, filter->member, value && filter->is_flag ? "true" : value);
    }
    add_query(&path, "cursor", sb_cli_option(cli, "cursor"));
    if (sb_cli_option(cli, "oldest-first"))
        add_query(&path, "sort", "oldest");
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
    if (code == SB_OK) {
        sb_cli_print_page(cli, page, columns);
        note_trouble(cli);
    }
    json_decref(page);
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}
