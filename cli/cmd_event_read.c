/* event read: a stream or all events, over HTTP, page by page.
 *
 * A follower asks for news with wait=, and goes on from the place that the server's last page named. It moves
 * on only when a page was printed, so whatever happens in between repeats nothing and leaves nothing out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/remote.h"
#include "events/store/store.h"

#include <stdlib.h>

#define PAGE_MAX     500
#define NEWS_WAIT    "1s" /* an interrupt is seen after that long at the latest */
#define AWAY_WAIT_MS 500

typedef struct reading {
    sb_slice_t category, key; /* one stream; absent: all */
    bool backward;
    bool follow;
    const char *types;
    const char *since; /* until the first page has said where that is */
    int64_t at;        /* a stream: the version to begin with, 0 for the end; all: after this seq, backward
                          before it, 0 for the end */
    int64_t left;
    bool away; /* the server was not there at the last call */
} reading_t;

static void add_parameter(sb_buf_t *path, const char *name, const char *value)
{
    if (!value)
        return;
    sb_buf_printf(path, "&%s=", name);
    sb_http_encode(path, sb_slice(value));
}

static void page_path(const reading_t *r, int64_t limit, sb_buf_t *path)
{
    sb_buf_reset(path);
    if (r->category.ptr) {
        sb_buf_add_text(path, "/v1/streams/");
        sb_http_encode(path, r->category);
        sb_buf_add_char(path, '/');
        sb_http_encode(path, r->key);
    } else {
        sb_buf_add_text(path, "/v1/events");
    }
    sb_buf_printf(path, "?limit=%lld", (long long)limit);
    if (r->category.ptr && r->at > 0)
        sb_buf_printf(path, "&from=%lld", (long long)r->at);
    if (!r->category.ptr && !r->since && !r->backward)
        sb_buf_printf(path, "&after=%lld", (long long)r->at);
    if (!r->category.ptr && r->backward && r->at > 0)
        sb_buf_printf(path, "&before=%lld", (long long)r->at);
    add_parameter(path, "since", r->since);
    add_parameter(path, "types", r->types);
    add_parameter(path, "backward", r->backward ? "true" : NULL);
    add_parameter(path, "wait", r->follow ? NEWS_WAIT : NULL);
}

/* Moves to where the next page begins; false at the end. */
static bool next_page(reading_t *r, const json_t *page)
{
    size_t count = json_array_size(json_object_get(page, "items"));
    const json_t *next = json_object_get(page, r->category.ptr ? "next_from"
                                               : r->backward   ? "next_before"
                                                               : "next_after");
    int64_t before = r->since ? -1 : r->at;
    r->left -= (int64_t)count;
    r->since = NULL;
    if (!json_is_integer(next))
        return false;
    r->at = json_integer_value(next);
    return r->category.ptr ? count > 0 : r->backward || r->at > before;
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

/* A follower outlives a restart of its server: it says so once, and asks again. */
static sb_code_t after_failure(const sb_cli_t *cli, reading_t *r, bool began, sb_code_t code, sb_error_t *err)
{
    bool passes = code == SB_UNAVAILABLE || code == SB_STOPPED || code == SB_UNKNOWN_OUTCOME ||
                  code == SB_TIMEOUT || code == SB_BUSY;
    if (!r->follow || !began || !passes)
        return code;
    if (!r->away)
        sb_cli_note(cli, "%s; trying again", err->message);
    r->away = true;
    sb_error_clear(err);
    sb_sleep_ms(AWAY_WAIT_MS);
    return SB_OK;
}

static sb_code_t take_page(sb_cli_t *cli, const reading_t *r, const json_t *page, json_t *all,
                           sb_error_t *err)
{
    const json_t *items = json_object_get(page, "items");
    if (r->follow)
        print_events(cli, items);
    else if (json_array_extend(all, (json_t *)(uintptr_t)items) != 0)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    return SB_OK;
}

/* Gathers all pages, so that json is one document and a table has one head; a follower prints as it reads. */
static sb_code_t read_pages(sb_cli_t *cli, reading_t *r, json_t *all, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    bool more = true, began = false;
    while (code == SB_OK && r->left > 0 && (more || r->follow) && !sb_cli_interrupted()) {
        json_t *page = NULL;
        page_path(r, r->left < PAGE_MAX ? r->left : PAGE_MAX, &path);
        code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
        if (code != SB_OK) {
            code = after_failure(cli, r, began, code, err);
            continue;
        }
        began = true;
        r->away = false;
        code = take_page(cli, r, page, all, err);
        more = next_page(r, page);
        json_decref(page);
    }
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}

static sb_code_t check_options(const sb_cli_t *cli, const reading_t *r, sb_error_t *err)
{
    static const char *const of_all[] = {"all", "after", "before", "since", "types"};
    static const char *const of_stream[] = {"from"};
    int64_t time_us;
    for (size_t i = 0; r->category.ptr && i < sizeof of_all / sizeof of_all[0]; i++)
        if (sb_cli_option(cli, of_all[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with all events, not with one stream", of_all[i]);
    for (size_t i = 0; !r->category.ptr && i < sizeof of_stream / sizeof of_stream[0]; i++)
        if (sb_cli_option(cli, of_stream[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with one stream: CATEGORY/KEY", of_stream[i]);
    if (r->backward && r->follow)
        return sb_fail(err, SB_INVALID, "--follow goes forward: leave --backward out");
    if (r->backward && (r->since || sb_cli_option(cli, "after")))
        return sb_fail(err, SB_INVALID, "--backward goes down from --before: leave --after and --since out");
    if (!r->backward && sb_cli_option(cli, "before"))
        return sb_fail(err, SB_INVALID, "--before goes with --backward");
    if (r->since && sb_cli_option(cli, "after"))
        return sb_fail(err, SB_INVALID, "--since and --after: give one of them");
    if (r->since && !sb_time_parse(sb_slice(r->since), &time_us))
        return sb_fail(err, SB_INVALID, "--since %s: expected a time such as 2026-11-21T05:19:35Z", r->since);
    return SB_OK;
}

static sb_code_t read_options(const sb_cli_t *cli, reading_t *r, sb_error_t *err)
{
    int64_t from = 0, before = 0;
    sb_code_t code =
        sb_cli_option_int(cli, "limit", 1, INT64_MAX, r->follow ? INT64_MAX : 100, &r->left, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "after", 0, INT64_MAX, 0, &r->at, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "before", 2, INT64_MAX, 0, &before, err);
    if (before > 0)
        r->at = before;
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "from", 1, INT32_MAX, 0, &from, err);
    if (code != SB_OK || cli->argument_count == 0)
        return code;
    if (!sb_stream_parse(cli->argument[0], &r->category, &r->key))
        return sb_fail(err, SB_INVALID, "%s: expected a stream, CATEGORY/KEY", cli->argument[0]);
    r->at = from;
    return SB_OK;
}

sb_code_t sb_cmd_event_read(sb_cli_t *cli, sb_error_t *err)
{
    reading_t r = {.backward = sb_cli_option(cli, "backward") != NULL,
                   .follow = sb_cli_option(cli, "follow") != NULL,
                   .since = sb_cli_option(cli, "since"),
                   .types = sb_cli_option(cli, "types")};
    sb_code_t code = read_options(cli, &r, err);
    if (code == SB_OK)
        code = check_options(cli, &r, err);
    if (code != SB_OK)
        return code;
    if (r.follow) {
        sb_cli_catch_interrupt();
        if (cli->out.format != SB_OUTPUT_JSONL)
            cli->out.format = SB_OUTPUT_JSONL; /* a stream has no last line */
    }
    json_t *all = json_array();
    code = all ? read_pages(cli, &r, all, err) : sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (!r.follow && (code == SB_OK || json_array_size(all) > 0)) /* an error later on takes away nothing */
        print_events(cli, all);
    if (!r.follow && code == SB_OK && json_array_size(all) == 0)
        sb_cli_note(cli, "no event");
    if (!r.follow && code == SB_OK && r.left == 0 && !sb_cli_option(cli, "limit"))
        sb_cli_note(cli, "the first %zu, there may be more: --limit COUNT", json_array_size(all));
    json_decref(all);
    if (r.follow && sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    return code;
}
