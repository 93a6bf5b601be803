/* publish, event append, event read: over HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/scan.h"
#include "cli/commands.h"
#include "cli/remote.h"

#include <stdlib.h>

#define PAGE_MAX 500

/* ---- append ---- */

static void add_member(sb_buf_t *body, const char *name, const char *text)
{
    if (!text)
        return;
    sb_buf_printf(body, ",\"%s\":", name);
    sb_buf_add_json(body, sb_slice(text));
}

/* any, none, exists as text; a version as a number. */
static sb_code_t add_expected(sb_buf_t *body, const char *text, sb_error_t *err)
{
    char *end = NULL;
    if (!text)
        return SB_OK;
    if (strcmp(text, "any") == 0 || strcmp(text, "none") == 0 || strcmp(text, "exists") == 0) {
        add_member(body, "expected_version", text);
        return SB_OK;
    }
    long version = strtol(text, &end, 10);
    if (end == text || *end || version < 0 || version > INT32_MAX)
        return sb_fail(err, SB_INVALID, "--expect %s: expected any, none, exists or a version", text);
    sb_buf_printf(body, ",\"expected_version\":%ld", version);
    return SB_OK;
}

static sb_code_t append_body(const sb_cli_t *cli, const char *expect, sb_buf_t *body, sb_error_t *err)
{
    const char *data = sb_cli_option(cli, "data");
    const char *key = sb_cli_option(cli, "key");
    sb_buf_t text = SB_BUF_INIT;
    size_t bad_at = 0;
    if (!key)
        return sb_fail(err, SB_INVALID, "%s needs --key K: events of one key stay in order",
                       cli->command->noun);
    if (!data)
        return sb_fail(err, SB_INVALID, "%s needs --data JSON, @FILE or @-", cli->command->noun);
    sb_code_t code = sb_cli_content(data, &text, err);
    if (code == SB_OK && !sb_scan_valid(sb_buf_slice(&text), &bad_at))
        code = sb_fail(err, SB_INVALID, "--data is not JSON: byte %zu", bad_at);
    if (code == SB_OK) {
        sb_buf_add_text(body, "{\"type\":");
        sb_buf_add_json(body, sb_slice(cli->argument[0]));
        add_member(body, "subject", key);
        add_member(body, "id", sb_cli_option(cli, "id"));
        add_member(body, "source", sb_cli_option(cli, "source"));
        add_member(body, "traceparent", sb_cli_option(cli, "traceparent"));
        code = add_expected(body, expect, err);
        sb_buf_add_text(body, ",\"data\":");
        sb_buf_add_slice(body, sb_buf_slice(&text));
        sb_buf_add_char(body, '}');
    }
    sb_buf_fini(&text);
    if (code == SB_OK && sb_buf_failed(body))
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    return code;
}

static sb_code_t append(sb_cli_t *cli, const char *expect, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t body = SB_BUF_INIT;
    json_t *answer = NULL;
    int status = 0;
    sb_code_t code = append_body(cli, expect, &body, err);
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK) {
        sb_remote_call_t call = {.method = "POST", .path = "/v1/events", .body = sb_buf_slice(&body)};
        code = sb_remote_send(remote, &call, &status, &answer, err);
    }
    if (code == SB_UNKNOWN_OUTCOME && !sb_cli_option(cli, "id"))
        code = sb_context(err, code, "it may have been appended; with --id it could be asked again");
    if (code == SB_OK)
        sb_output_object(&cli->out, answer);
    if (code == SB_OK && status == 200)
        sb_cli_note(cli, "this id was there already: this is its first answer");
    json_decref(answer);
    sb_buf_fini(&body);
    sb_remote_close(&remote);
    return code;
}

sb_code_t sb_cmd_publish(sb_cli_t *cli, sb_error_t *err)
{
    if (sb_cli_option(cli, "direct"))
        return sb_cmd_publish_direct(cli, err);
    static const char *const of_direct[] = {"topic", "structured", "timeout"};
    for (size_t i = 0; i < sizeof of_direct / sizeof of_direct[0]; i++)
        if (sb_cli_option(cli, of_direct[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with --direct", of_direct[i]);
    return append(cli, NULL, err);
}

sb_code_t sb_cmd_event_append(sb_cli_t *cli, sb_error_t *err)
{
    return append(cli, sb_cli_option(cli, "expect"), err);
}

/* ---- read ---- */

typedef struct reading {
    const char *category; /* with key: one stream; NULL: all */
    const char *key;
    bool backward;
    bool follow;
    const char *types;
    int64_t at; /* a stream: the version to begin with, 0 for the end; all: after this seq */
    int64_t left;
} reading_t;

static void page_path(const reading_t *r, int64_t limit, sb_buf_t *path)
{
    sb_buf_reset(path);
    if (r->category) {
        sb_buf_add_text(path, "/v1/streams/");
        sb_http_encode(path, sb_slice(r->category));
        sb_buf_add_char(path, '/');
        sb_http_encode(path, sb_slice(r->key));
        sb_buf_printf(path, "?limit=%lld", (long long)limit);
        if (r->at > 0)
            sb_buf_printf(path, "&from=%lld", (long long)r->at);
        if (r->backward)
            sb_buf_add_text(path, "&backward=true");
        return;
    }
    sb_buf_printf(path, "/v1/events?after=%lld&limit=%lld", (long long)r->at, (long long)limit);
    if (r->types) {
        sb_buf_add_text(path, "&types=");
        sb_http_encode(path, sb_slice(r->types));
    }
}

/* Moves to where the next page begins; false at the end. */
static bool next_page(reading_t *r, const json_t *page, int64_t limit)
{
    const json_t *items = json_object_get(page, "items");
    size_t count = json_array_size(items);
    const json_t *last = json_array_get(items, count ? count - 1 : 0);
    const json_t *after = json_object_get(page, "next_after");
    r->left -= (int64_t)count;
    if (r->category) {
        int64_t version = json_integer_value(json_object_get(last, "version"));
        r->at = r->backward ? version - 1 : version + 1;
        return (int64_t)count == limit && r->at > 0;
    }
    int64_t before = r->at;
    r->at = json_is_integer(after) ? json_integer_value(after)
            : count                ? json_integer_value(json_object_get(last, "seq"))
                                   : before;
    return (int64_t)count == limit || (r->at > before && json_is_integer(after));
}

static void print_events(sb_cli_t *cli, const json_t *items)
{
    static const sb_column_t columns[] = {{"SEQ", "/seq"},     {"TIME", "/time"},       {"TYPE", "/type"},
                                          {"KEY", "/subject"}, {"VERSION", "/version"}, {"DATA", "/data"},
                                          {NULL, NULL}};
    if (json_array_size(items) == 0 && cli->out.format == SB_OUTPUT_TABLE)
        return;
    sb_output_items(&cli->out, items, columns);
    (void)fflush(cli->out.to);
}

/* Gathers all pages, so that json is one document and a table has one head; a follower prints as it reads. */
static sb_code_t read_pages(sb_cli_t *cli, reading_t *r, json_t *all, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    while (code == SB_OK && r->left > 0 && !sb_cli_interrupted()) {
        int64_t limit = r->left < PAGE_MAX ? r->left : PAGE_MAX;
        json_t *page = NULL;
        page_path(r, limit, &path);
        code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
        if (code != SB_OK)
            break;
        bool more = next_page(r, page, limit);
        if (r->follow)
            print_events(cli, json_object_get(page, "items"));
        else if (json_array_extend(all, json_object_get(page, "items")) != 0)
            code = sb_fail(err, SB_NO_MEMORY, "out of memory");
        json_decref(page);
        if (!more && !r->follow)
            break;
        if (!more)
            sb_sleep_ms(250);
    }
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}

static sb_code_t read_options(const sb_cli_t *cli, reading_t *r, char *stream, size_t cap, sb_error_t *err)
{
    int64_t from = 0;
    sb_code_t code =
        sb_cli_option_int(cli, "limit", 1, INT64_MAX, r->follow ? INT64_MAX : 100, &r->left, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "after", 0, INT64_MAX, 0, &r->at, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "from", 1, INT32_MAX, 0, &from, err);
    if (code != SB_OK || cli->argument_count == 0)
        return code;
    (void)snprintf(stream, cap, "%s", cli->argument[0]);
    char *slash = strchr(stream, '/');
    if (!slash || slash == stream || !slash[1])
        return sb_fail(err, SB_INVALID, "%s: expected a stream, CATEGORY/KEY", cli->argument[0]);
    *slash = '\0';
    r->category = stream;
    r->key = slash + 1;
    r->at = from;
    if (r->types || r->follow)
        return sb_fail(err, SB_INVALID, "--types and --follow go with all events, not with one stream");
    return SB_OK;
}

sb_code_t sb_cmd_event_read(sb_cli_t *cli, sb_error_t *err)
{
    char stream[512];
    reading_t r = {.backward = sb_cli_option(cli, "backward") != NULL,
                   .follow = sb_cli_option(cli, "follow") != NULL,
                   .types = sb_cli_option(cli, "types")};
    sb_code_t code = read_options(cli, &r, stream, sizeof stream, err);
    if (code != SB_OK)
        return code;
    if (r.follow) {
        sb_cli_catch_interrupt();
        if (cli->out.format != SB_OUTPUT_JSONL)
            cli->out.format = SB_OUTPUT_JSONL; /* a stream has no last line */
    }
    json_t *all = json_array();
    code = all ? read_pages(cli, &r, all, err) : sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code == SB_OK && !r.follow)
        print_events(cli, all);
    json_decref(all);
    if (r.follow && sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    return code;
}
