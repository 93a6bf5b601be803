/* replay, view verify, view rollback: in this process, against PostgreSQL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "cli/remote.h"
#include "events/view/view.h"

#include <unistd.h>

#define BAR_CELLS 24

typedef struct watch {
    sb_cli_t *cli;
    bool terminal;
    sb_replay_phase_t phase;
    int pass;
    bool said;
    bool differs;
    json_t *reports;
    json_t *differences;
} watch_t;

/* ---- progress ---- */

static void bar(char *out, double share)
{
    int full = (int)(share * BAR_CELLS + 0.5);
    for (int i = 0; i < BAR_CELLS; i++)
        out[i] = i < full ? '#' : '.';
    out[BAR_CELLS] = '\0';
}

static void read_line(const watch_t *watch, const sb_replay_progress_t *p, char *line, size_t cap)
{
    char cells[BAR_CELLS + 1];
    char pass[32] = "";
    double share = p->seq_end > 0 ? (double)p->seq / (double)p->seq_end : 1;
    bar(cells, share);
    if (p->passes > 1)
        (void)snprintf(pass, sizeof pass, ", pass %d of %d", p->pass, p->passes);
    if (watch->terminal)
        (void)snprintf(line, cap, "%s [%s] %3.0f %%  %.0f events/s, %.0f s to go%s",
                       sb_replay_phase_name(p->phase), cells, share * 100, p->events_per_s, p->eta_s, pass);
    else
        (void)snprintf(line, cap,
                       "%s: %lld of about %lld events, %.0f events/s, %.0f s to go, at %lld of %lld%s",
                       sb_replay_phase_name(p->phase), (long long)p->events, (long long)p->events_total,
                       p->events_per_s, p->eta_s, (long long)p->seq, (long long)p->seq_end, pass);
}

static void progress_line(const watch_t *watch, const sb_replay_progress_t *p, char *line, size_t cap)
{
    if (p->phase == SB_REPLAY_READ)
        read_line(watch, p, line, cap);
    else
        (void)snprintf(line, cap, "%s%s%s: %lld events, %lld rows, %lld events and %lld ms behind",
                       p->view ? p->view : "", p->view ? ": " : "", sb_replay_phase_name(p->phase),
                       (long long)p->events, (long long)p->rows, (long long)(p->seq_end - p->seq),
                       (long long)p->lag_ms);
}

/* On a terminal one line that changes; elsewhere a line a phase. */
static sb_code_t on_progress(void *context, const sb_replay_progress_t *p, sb_error_t *err)
{
    watch_t *watch = context;
    char line[240];
    if (sb_cli_interrupted())
        return sb_fail(err, SB_STOPPED, "interrupted; the view that was live stays as it is");
    if (watch->cli->quiet)
        return SB_OK;
    progress_line(watch, p, line, sizeof line);
    if (watch->terminal)
        (void)fprintf(stderr, "\r\033[K%s", line);
    else if (!watch->said || watch->phase != p->phase || watch->pass != p->pass)
        (void)fprintf(stderr, "%s\n", line);
    watch->said = true;
    watch->phase = p->phase;
    watch->pass = p->pass;
    return SB_OK;
}

static void end_line(watch_t *watch)
{
    if (watch->terminal && watch->said)
        (void)fputs("\r\033[K", stderr);
    watch->said = false;
}

/* ---- what is said of a view ---- */

static sb_code_t on_difference(void *context, const sb_view_difference_t *d, sb_error_t *err)
{
    watch_t *watch = context;
    (void)err;
    end_line(watch);
    if (watch->cli->out.format != SB_OUTPUT_TABLE) {
        (void)json_array_append_new(watch->differences,
                                    json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:s?}", "view", d->view, "table",
                                              d->table, "key", d->key, "column", d->column, "live", d->live,
                                              "folded", d->folded));
        return SB_OK;
    }
    FILE *to = watch->cli->out.to;
    if (d->column)
        (void)fprintf(to, "%s %s: %s is %s, its events say %s\n", d->table, d->key, d->column, d->live,
                      d->folded);
    else
        (void)fprintf(to, "%s %s: %s\n", d->table, d->key,
                      d->live ? "is there, its events make no such row" : "is missing");
    return SB_OK;
}

static json_t *comparison_json(const sb_view_comparison_t *c)
{
    char sums[2][24];
    (void)snprintf(sums[0], sizeof sums[0], "%016llx", (unsigned long long)c->live_checksum);
    (void)snprintf(sums[1], sizeof sums[1], "%016llx", (unsigned long long)c->folded_checksum);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "seq", (json_int_t)c->seq, "live_rows",
                     (json_int_t)c->live_rows, "folded_rows", (json_int_t)c->folded_rows, "missing",
                     (json_int_t)c->missing, "extra", (json_int_t)c->extra, "differing",
                     (json_int_t)c->differing, "live_checksum", sums[0], "folded_checksum", sums[1]);
}

static json_t *report_json(const char *view, const sb_replay_report_t *r)
{
    json_t *object = json_pack("{s:s, s:i, s:I, s:b, s:I, s:I, s:I, s:I, s:i, s:f, s:f}", "view", view,
                               "version", r->version, "generation", (json_int_t)r->generation, "live",
                               (int)r->live, "seq", (json_int_t)r->seq, "events", (json_int_t)r->events,
                               "rows", (json_int_t)r->rows, "parked", (json_int_t)r->parked, "passes",
                               r->passes, "seconds", r->seconds, "events_per_s", r->events_per_s);
    if (r->comparison.done)
        (void)json_object_set_new(object, "comparison", comparison_json(&r->comparison));
    return object;
}

static bool is_same(const sb_view_comparison_t *c)
{
    return c->missing == 0 && c->extra == 0 && c->differing == 0;
}

static void say_comparison(FILE *to, const char *view, const sb_view_comparison_t *c)
{
    if (is_same(c))
        (void)fprintf(to, "%s: %lld rows as of %lld are what their events make them (checksum %016llx)\n",
                      view, (long long)c->live_rows, (long long)c->seq, (unsigned long long)c->live_checksum);
    else
        (void)fprintf(to,
                      "%s: as of %lld %lld rows differ, %lld are missing, %lld are too many (%lld live, %lld "
                      "by their events; checksums %016llx, %016llx)\n",
                      view, (long long)c->seq, (long long)c->differing, (long long)c->missing,
                      (long long)c->extra, (long long)c->live_rows, (long long)c->folded_rows,
                      (unsigned long long)c->live_checksum, (unsigned long long)c->folded_checksum);
}

static void say_report(FILE *to, const char *view, const sb_replay_report_t *r)
{
    const char *what = r->live ? "is live" : "stands beside the live one";
    if (r->generation > 0)
        (void)fprintf(to, "%s: generation %lld %s: ", view, (long long)r->generation, what);
    else
        (void)fprintf(to, "%s: nothing was written: ", view);
    (void)fprintf(to, "%lld events, %lld rows, %.2f s, %.0f events/s%s\n", (long long)r->events,
                  (long long)r->rows, r->seconds, r->events_per_s, r->parked ? "; some keys are parked" : "");
}

static void on_report(void *context, const char *view, const sb_replay_report_t *report)
{
    watch_t *watch = context;
    end_line(watch);
    watch->differs |= report->comparison.done && !is_same(&report->comparison);
    if (watch->cli->out.format != SB_OUTPUT_TABLE) {
        (void)json_array_append_new(watch->reports, report_json(view, report));
        return;
    }
    if (report->comparison.done)
        say_comparison(watch->cli->out.to, view, &report->comparison);
    if (watch->cli->command->verb == NULL)
        say_report(watch->cli->out.to, view, report);
}

/* Those of its view. */
static void add_differences(json_t *report, const json_t *differences)
{
    json_t *own = json_array();
    const char *view = json_string_value(json_object_get(report, "view"));
    for (size_t i = 0; view && i < json_array_size(differences); i++) {
        json_t *difference = json_array_get(differences, i);
        if (strcmp(json_string_value(json_object_get(difference, "view")), view) == 0)
            (void)json_array_append(own, difference);
    }
    if (json_array_size(own) > 0)
        (void)json_object_set(report, "differences", own);
    json_decref(own);
}

/* One report as an object, those of --all as a list. */
static void print_reports(watch_t *watch, bool all)
{
    sb_output_t *out = &watch->cli->out;
    if (out->format == SB_OUTPUT_TABLE)
        return;
    for (size_t i = 0; i < json_array_size(watch->reports); i++)
        add_differences(json_array_get(watch->reports, i), watch->differences);
    if (all)
        sb_output_json(out, watch->reports);
    else if (json_array_size(watch->reports) > 0)
        sb_output_json(out, json_array_get(watch->reports, 0));
}

/* ---- commands ---- */

static sb_code_t read_options(const sb_cli_t *cli, sb_replay_config_t *config, sb_error_t *err)
{
    int64_t jobs, memory, differences;
    sb_code_t code = sb_cli_option_int(cli, "jobs", 1, 16, 0, &jobs, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "memory", 1, 1048576, 0, &memory, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "differences", 1, 1000000, 10, &differences, err);
    if (code != SB_OK)
        return code;
    config->jobs = (int)jobs;
    config->memory_bytes = memory << 20;
    config->differences_max = (int)differences;
    return SB_OK;
}

typedef sb_code_t (*work_fn)(const sb_replay_config_t *config, watch_t *watch, sb_error_t *err);

static sb_code_t run(sb_cli_t *cli, const sb_replay_config_t *given, work_fn work, sb_error_t *err)
{
    sb_replay_config_t config = *given;
    char host[64] = "";
    char owner[96];
    watch_t watch = {.cli = cli,
                     .terminal = isatty(STDERR_FILENO) == 1,
                     .reports = json_array(),
                     .differences = json_array()};
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(owner, sizeof owner, "replay@%s:%d", host, (int)getpid());
    config.pg_uri = sb_config_get(cli->config, "pg.uri");
    config.owner = owner;
    config.on_progress = on_progress;
    config.on_difference = on_difference;
    config.on_report = on_report;
    config.context = &watch;
    sb_catalog_t *catalog = NULL;
    sb_code_t code = sb_catalog_new(&catalog, err);
    config.catalog = catalog;
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = work(&config, &watch, err);
    }
    end_line(&watch);
    if (code == SB_OK)
        print_reports(&watch, !config.view);
    if (code == SB_OK && watch.differs)
        cli->exit_code = SB_EXIT_DIFFERENT;
    if (sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    sb_catalog_free(&catalog);
    json_decref(watch.reports);
    json_decref(watch.differences);
    return code;
}

static sb_code_t replay(const sb_replay_config_t *config, watch_t *watch, sb_error_t *err)
{
    sb_replay_report_t report = {0};
    (void)watch;
    return sb_replay_run(config, &report, err);
}

/* A time is looked up in the store, which then is closed again. */
static sb_code_t read_until(const sb_cli_t *cli, int64_t *seq, sb_error_t *err)
{
    sb_registry_t registry;
    *seq = 0;
    if (!sb_cli_option(cli, "until"))
        return SB_OK;
    sb_code_t code = sb_registry_open(&registry, cli, err);
    if (code == SB_OK)
        code = sb_registry_until(&registry, cli, seq, err);
    sb_registry_close(&registry);
    return code;
}

static sb_code_t refuse_options_of_to(const sb_cli_t *cli, sb_error_t *err)
{
    static const char *const of_to[] = {"after",    "since",       "types",      "stream",  "rate",
                                        "position", "secret-file", "structured", "timeout", "tries"};
    for (size_t i = 0; i < sizeof of_to / sizeof of_to[0]; i++)
        if (sb_cli_option(cli, of_to[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with --to", of_to[i]);
    return SB_OK;
}

sb_code_t sb_cmd_replay(sb_cli_t *cli, sb_error_t *err)
{
    bool all = sb_cli_option(cli, "all") != NULL;
    if (sb_cli_option(cli, "to"))
        return sb_cmd_replay_to(cli, err);
    if (all == (cli->argument_count > 0))
        return sb_fail(err, SB_INVALID, "replay: say which view, or --all");
    if (sb_cli_option(cli, "to-topic"))
        return all ? sb_fail(err, SB_INVALID, "--to-topic goes with one category")
                   : sb_cmd_replay_topic(cli, err);
    if (sb_cli_option(cli, "recreate"))
        return sb_fail(err, SB_INVALID, "--recreate goes with --to-topic");
    sb_code_t code = refuse_options_of_to(cli, err);
    if (code != SB_OK)
        return code;
    sb_replay_config_t config = {.view = all ? NULL : cli->argument[0],
                                 .mode = sb_cli_option(cli, "dry-run") ? SB_REPLAY_DRY : SB_REPLAY_BUILD,
                                 .diff = sb_cli_option(cli, "diff") != NULL,
                                 .keep_old = sb_cli_option(cli, "keep-old") != NULL};
    code = read_options(cli, &config, err);
    if (code == SB_OK)
        code = read_until(cli, &config.until_seq, err);
    return code == SB_OK ? run(cli, &config, replay, err) : code;
}

sb_code_t sb_cmd_view_verify(sb_cli_t *cli, sb_error_t *err)
{
    sb_replay_config_t config = {.view = cli->argument_count > 0 ? cli->argument[0] : NULL,
                                 .mode = SB_REPLAY_VERIFY};
    sb_code_t code = read_options(cli, &config, err);
    return code == SB_OK ? run(cli, &config, replay, err) : code;
}

static sb_code_t roll_back(const sb_replay_config_t *config, watch_t *watch, sb_error_t *err)
{
    int64_t generation = 0;
    sb_replay_report_t report = {0};
    sb_code_t code = sb_cli_option_int(watch->cli, "generation", 1, INT64_MAX, 0, &generation, err);
    if (code == SB_OK)
        code = sb_view_rollback(config, generation, &report, err);
    if (code != SB_OK)
        return code;
    end_line(watch);
    if (watch->cli->out.format == SB_OUTPUT_TABLE)
        say_report(watch->cli->out.to, config->view, &report);
    else
        (void)json_array_append_new(watch->reports, report_json(config->view, &report));
    return SB_OK;
}

sb_code_t sb_cmd_view_rollback(sb_cli_t *cli, sb_error_t *err)
{
    sb_replay_config_t config = {.view = cli->argument[0]};
    return run(cli, &config, roll_back, err);
}
