/* view list, view show: over HTTP. replay: in this process, against PostgreSQL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "cli/remote.h"
#include "events/view/view.h"

#include <unistd.h>

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
    const json_t *items = json_object_get(page, "items");
    const char *next = json_string_value(json_object_get(page, "next_cursor"));
    if (cli->out.format == SB_OUTPUT_JSON)
        sb_output_json(&cli->out, page);
    else if (json_array_size(items))
        sb_output_rows(&cli->out, items);
    else
        sb_cli_note(cli, "no rows");
    if (next && cli->out.format == SB_OUTPUT_TABLE)
        sb_cli_note(cli, "there are more: --cursor %s", next);
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

/* ---- replay ---- */

typedef struct replay_watch {
    const sb_cli_t *cli;
    bool terminal;
    sb_replay_phase_t phase;
    bool said;
} replay_watch_t;

static void progress_line(const sb_replay_progress_t *p, char *line, size_t cap)
{
    if (p->phase == SB_REPLAY_READ)
        (void)snprintf(line, cap,
                       "%s: %lld of about %lld events, %.0f events/s, %.0f s to go, at %lld of %lld",
                       sb_replay_phase_name(p->phase), (long long)p->events, (long long)p->events_total,
                       p->events_per_s, p->eta_s, (long long)p->seq, (long long)p->seq_end);
    else
        (void)snprintf(line, cap, "%s: %lld events, %lld rows, %lld ms behind",
                       sb_replay_phase_name(p->phase), (long long)p->events, (long long)p->rows,
                       (long long)p->lag_ms);
}

/* On a terminal one line that changes; elsewhere a line a phase. */
static sb_code_t on_progress(void *context, const sb_replay_progress_t *p, sb_error_t *err)
{
    replay_watch_t *watch = context;
    char line[200];
    if (sb_cli_interrupted())
        return sb_fail(err, SB_STOPPED, "interrupted; the view that was live stays as it is");
    if (watch->cli->quiet)
        return SB_OK;
    progress_line(p, line, sizeof line);
    if (watch->terminal)
        (void)fprintf(stderr, "\r\033[K%s", line);
    else if (!watch->said || watch->phase != p->phase)
        (void)fprintf(stderr, "%s\n", line);
    watch->said = true;
    watch->phase = p->phase;
    return SB_OK;
}

static void print_report(sb_cli_t *cli, const char *view, const sb_replay_report_t *report)
{
    json_t *result = json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "view", view, "version",
                               report->version, "generation", (json_int_t)report->generation, "seq",
                               (json_int_t)report->seq, "events", (json_int_t)report->events, "rows",
                               (json_int_t)report->rows, "parked", (json_int_t)report->parked, "seconds",
                               report->seconds, "events_per_s", report->events_per_s);
    if (cli->out.format == SB_OUTPUT_TABLE)
        (void)fprintf(cli->out.to,
                      "%s: generation %lld is live: %lld events, %lld rows, %.2f s, %.0f events/s%s\n", view,
                      (long long)report->generation, (long long)report->events, (long long)report->rows,
                      report->seconds, report->events_per_s, report->parked ? "; some keys are parked" : "");
    else
        sb_output_json(&cli->out, result);
    json_decref(result);
}

sb_code_t sb_cmd_replay(sb_cli_t *cli, sb_error_t *err)
{
    if (sb_cli_option(cli, "to-topic"))
        return sb_cmd_replay_topic(cli, err);
    if (sb_cli_option(cli, "recreate"))
        return sb_fail(err, SB_INVALID, "--recreate goes with --to-topic");
    sb_catalog_t *catalog = NULL;
    sb_replay_report_t report = {0};
    replay_watch_t watch = {.cli = cli, .terminal = isatty(STDERR_FILENO) == 1};
    char host[64] = "";
    char owner[96];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(owner, sizeof owner, "replay@%s:%d", host, (int)getpid());
    sb_code_t code = sb_catalog_new(&catalog, err);
    if (code == SB_OK) {
        sb_replay_config_t config = {.pg_uri = sb_config_get(cli->config, "pg.uri"),
                                     .owner = owner,
                                     .catalog = catalog,
                                     .view = cli->argument[0],
                                     .on_progress = on_progress,
                                     .context = &watch};
        sb_cli_catch_interrupt();
        code = sb_replay_run(&config, &report, err);
    }
    if (watch.terminal && watch.said)
        (void)fputc('\n', stderr);
    if (code == SB_OK)
        print_report(cli, cli->argument[0], &report);
    if (sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    sb_catalog_free(&catalog);
    return code;
}
