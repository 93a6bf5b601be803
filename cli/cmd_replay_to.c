/* replay --to: the history once more, to a URL or as JSON lines, in this process, against PostgreSQL.
 *
 * In order of seq, up to what is safe at the start, each event in the newest version of its type. The place
 * is what was taken: with --position it is kept in a file, for the same command to go on from; without, the
 * message at the end names it. A place is never ahead of what was taken, so an interruption repeats some
 * events at most and leaves none out. A file of lines is cut back to its place first, and has no repeats.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/http_client.h"
#include "base/limits.h"
#include "bus/push/push_replay.h"
#include "cli/registry.h"
#include "events/saga_types.h"
#include "events/store/store.h"
#include "server/event_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE_EVENTS  5000
#define FILE_BUFFER  (1u << 16)
#define SAVE_US      1000000
#define PROGRESS_US  200000
#define LINES        "jsonl"
#define POSITION_MAX 4096

typedef struct resend {
    sb_cli_t *cli;
    sb_registry_t registry;
    sb_store_t *store;
    const char *to;
    const char *position_path; /* NULL: none */
    sb_slice_t category, key;  /* of one stream; absent: all */
    sb_slice_t types[SB_READ_TYPES_MAX];
    size_t type_count;
    sb_push_replay_t *push; /* to a URL; NULL: lines */
    FILE *lines;
    sb_buf_t line;
    sb_rate_t rate;
    int64_t after;     /* where it began */
    int64_t until;     /* up to here */
    int64_t taken_seq; /* all that is wanted up to here was taken */
    int64_t from_version;
    int64_t events;
    int64_t bytes; /* of the lines */
    int64_t start_us, shown_us, saved_us;
} resend_t;

/* ---- the place ---- */

/* What a place is of: another target or another choice of events has another one. */
static json_t *what_it_is_of(const resend_t *r)
{
    const char *types = sb_cli_option(r->cli, "types");
    const char *stream = sb_cli_option(r->cli, "stream");
    return json_pack("{s:s, s:s, s:s}", "to", r->to, "types", types ? types : "", "stream",
                     stream ? stream : "");
}

static sb_code_t write_whole(const char *path, const char *text, sb_error_t *err)
{
    char temporary[POSITION_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return sb_fail(err, SB_INVALID, "--position: the path is too long");
    FILE *file = fopen(temporary, "we");
    bool ok = file && fputs(text, file) >= 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int why = errno;
    if (file && fclose(file) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(temporary, path) != 0) {
        ok = false;
        why = errno;
    }
    return ok ? SB_OK : sb_fail(err, SB_INVALID, "--position: write %s: %s", path, strerror(why));
}

static sb_code_t flush_lines(const resend_t *r, sb_error_t *err)
{
    if (r->lines && (fflush(r->lines) != 0 || ferror(r->lines)))
        return sb_fail(err, SB_UNAVAILABLE, "write %s: %s", r->to, strerror(errno));
    return SB_OK;
}

static sb_code_t save_place(resend_t *r, bool now, sb_error_t *err)
{
    if (!r->position_path || (!now && sb_mono_us() - r->saved_us < SAVE_US))
        return SB_OK;
    sb_code_t code = flush_lines(r, err);
    if (code != SB_OK)
        return code;
    json_t *place = what_it_is_of(r);
    sb_buf_t text = SB_BUF_INIT;
    (void)json_object_set_new(place, "seq", json_integer(r->taken_seq));
    (void)json_object_set_new(place, "bytes", json_integer(r->bytes));
    sb_json_dump(place, &text);
    sb_buf_add_char(&text, '\n');
    code = sb_buf_failed(&text) ? sb_fail(err, SB_NO_MEMORY, "out of memory")
                                : write_whole(r->position_path, sb_buf_text(&text), err);
    sb_buf_fini(&text);
    json_decref(place);
    r->saved_us = sb_mono_us();
    return code;
}

static sb_code_t load_place(resend_t *r, sb_error_t *err)
{
    json_t *place = NULL;
    json_t *mine = what_it_is_of(r);
    if (!r->position_path || access(r->position_path, F_OK) != 0) {
        json_decref(mine);
        return SB_OK;
    }
    sb_code_t code = sb_json_read_file(&place, r->position_path, NULL, err);
    const json_t *seq = json_object_get(place, "seq");
    const char *name;
    json_t *value;
    if (code == SB_OK && !json_is_integer(seq))
        code = sb_fail(err, SB_INVALID, "--position: %s is not a place of a replay", r->position_path);
    json_object_foreach(mine, name, value)
    {
        if (code == SB_OK && !json_equal(value, json_object_get(place, name)))
            code = sb_fail(err, SB_CONFLICT,
                           "--position: %s is the place of another replay (its \"%s\" differs): give this "
                           "one a file of its own",
                           r->position_path, name);
    }
    if (code == SB_OK) {
        r->taken_seq = json_integer_value(seq);
        r->bytes = json_integer_value(json_object_get(place, "bytes"));
    }
    json_decref(place);
    json_decref(mine);
    return code;
}

/* ---- one event ---- */

static bool is_wanted(const resend_t *r, const sb_event_t *event)
{
    if (event->event_class == SB_CLASS_SAGA && !sb_saga_type_is_public(event->type))
        return false;
    bool typed = r->type_count == 0;
    for (size_t i = 0; i < r->type_count && !typed; i++)
        typed = sb_event_type_matches(r->types[i], event->type);
    return typed;
}

/* Line breaks in JSON stand between tokens only. */
static sb_code_t write_line(resend_t *r, const sb_event_t *event, sb_error_t *err)
{
    sb_buf_reset(&r->line);
    sb_event_json(event, &r->line);
    for (size_t i = 0; !sb_buf_failed(&r->line) && i < r->line.len; i++)
        if (r->line.ptr[i] == '\n' || r->line.ptr[i] == '\r')
            r->line.ptr[i] = ' ';
    sb_buf_add_char(&r->line, '\n');
    if (sb_buf_failed(&r->line))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (fwrite(r->line.ptr, 1, r->line.len, r->lines) != r->line.len)
        return sb_fail(err, SB_UNAVAILABLE, "write %s: %s", r->to, strerror(errno));
    r->bytes += (int64_t)r->line.len;
    return SB_OK;
}

static sb_code_t wait_for_rate(resend_t *r, sb_error_t *err)
{
    while (!sb_rate_take(&r->rate, sb_mono_us())) {
        int64_t wait_us = sb_rate_wait_us(&r->rate, sb_mono_us());
        if (sb_cli_interrupted())
            return sb_fail(err, SB_STOPPED, "interrupted");
        sb_sleep_us(wait_us < 100000 ? wait_us : 100000);
    }
    return SB_OK;
}

static void show_progress(resend_t *r, bool last)
{
    int64_t now = sb_mono_us();
    if (r->cli->quiet || !isatty(STDERR_FILENO) || (!last && now - r->shown_us < PROGRESS_US))
        return;
    r->shown_us = now;
    (void)fprintf(stderr, "\r\033[K%lld events, at %lld of %lld, %lld/s%s", (long long)r->events,
                  (long long)r->taken_seq, (long long)r->until,
                  (long long)(r->events * 1000000 / (now - r->start_us + 1)), last ? "\n" : "");
}

static sb_code_t on_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    resend_t *r = context;
    if (sb_cli_interrupted())
        return sb_fail(err, SB_STOPPED, "interrupted");
    sb_code_t code = SB_OK;
    if (event->seq > r->taken_seq && event->seq <= r->until && is_wanted(r, event)) {
        code = wait_for_rate(r, err);
        if (code == SB_OK)
            code = r->push ? sb_push_replay_send(r->push, event, err) : write_line(r, event, err);
        r->events += code == SB_OK;
    }
    if (code == SB_OK && event->seq > r->taken_seq && event->seq <= r->until)
        r->taken_seq = event->seq;
    r->from_version = event->stream_version + 1;
    if (code == SB_OK)
        code = save_place(r, false, err);
    show_progress(r, false);
    return code;
}

/* ---- the whole ---- */

static sb_code_t send_all(resend_t *r, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && r->taken_seq < r->until) {
        sb_read_all_t read = {.after_seq = r->taken_seq,
                              .to_seq = r->until,
                              .limit = PAGE_EVENTS,
                              .types = r->type_count ? r->types : NULL,
                              .type_count = r->type_count};
        int64_t last_seq = 0;
        code = sb_store_read_all(r->store, &read, on_event, r, &last_seq, err);
        if (code == SB_OK && last_seq > r->taken_seq)
            r->taken_seq = last_seq;
        else if (code == SB_OK)
            break;
        if (code == SB_OK)
            code = save_place(r, false, err);
    }
    return code;
}

static sb_code_t send_stream(resend_t *r, sb_error_t *err)
{
    sb_stream_info_t info;
    sb_code_t code = sb_store_stream(r->store, r->category, r->key, &info, err);
    r->from_version = info.first_version;
    while (code == SB_OK && r->from_version <= info.version)
        code = sb_store_read_stream(r->store, r->category, r->key, (int)r->from_version, false, PAGE_EVENTS,
                                    on_event, r, err);
    if (code == SB_OK)
        r->taken_seq = r->until;
    return code;
}

static bool is_stopped(void *context)
{
    (void)context;
    return sb_cli_interrupted();
}

/* ---- what is to be sent, and whereto ---- */

static sb_code_t read_choice(resend_t *r, sb_error_t *err)
{
    const char *stream = sb_cli_option(r->cli, "stream");
    sb_code_t code = sb_read_types_parse(sb_cli_option(r->cli, "types"), r->types, &r->type_count, err);
    if (code != SB_OK)
        return sb_context(err, code, "--types");
    if (stream && !sb_stream_parse(stream, &r->category, &r->key))
        return sb_fail(err, SB_INVALID, "--stream %s: expected CATEGORY/KEY", stream);
    return SB_OK;
}

/* Where it begins: --after or --since, else the kept place, else the first event. */
static sb_code_t find_start(resend_t *r, sb_error_t *err)
{
    const char *since = sb_cli_option(r->cli, "since");
    int64_t time_us, seq = 0, after = -1;
    if (since && sb_cli_option(r->cli, "after"))
        return sb_fail(err, SB_INVALID, "--since and --after: give one of them");
    if (since && !sb_time_parse(sb_slice(since), &time_us))
        return sb_fail(err, SB_INVALID, "--since %s: expected a time such as 2026-11-21T05:19:35Z", since);
    sb_code_t code = sb_cli_option_int(r->cli, "after", 0, INT64_MAX, -1, &after, err);
    if (code == SB_OK)
        code = load_place(r, err);
    if (code == SB_OK && since && r->taken_seq == 0)
        code = sb_store_seq_since(r->store, time_us, &seq, err);
    if (code != SB_OK)
        return code;
    if (seq > 0)
        r->taken_seq = seq - 1;
    if (after >= 0)
        r->taken_seq = after;
    r->after = r->taken_seq;
    return SB_OK;
}

static sb_code_t find_end(resend_t *r, sb_error_t *err)
{
    const char *until = sb_cli_option(r->cli, "until");
    int64_t safe = 0, seq = 0;
    sb_code_t code = sb_store_safe_seq(r->store, &safe, err);
    if (code == SB_OK && until)
        code = sb_registry_until(&r->registry, r->cli, &seq, err);
    r->until = until && seq < safe ? seq : safe;
    return code;
}

static sb_code_t open_lines(resend_t *r, sb_error_t *err)
{
    const char *path = r->to + sizeof LINES - 1;
    if (*path == '\0') {
        if (r->position_path)
            return sb_fail(err, SB_INVALID, "--position goes with a URL or with a file: --to " LINES ":FILE");
        r->lines = r->cli->out.to;
        return SB_OK;
    }
    path++;
    r->lines = fopen(path, r->bytes > 0 ? "r+e" : "we");
    if (!r->lines)
        return sb_cli_file_failed(path, errno, err);
    if (fseek(r->lines, 0, SEEK_END) != 0 || ftell(r->lines) < r->bytes)
        return sb_fail(err, SB_CONFLICT,
                       "%s is shorter than --position %s says: it is not the file of before", path,
                       r->position_path);
    if (ftruncate(fileno(r->lines), (off_t)r->bytes) != 0 || fseek(r->lines, (long)r->bytes, SEEK_SET) != 0)
        return sb_cli_file_failed(path, errno, err);
    return SB_OK;
}

static sb_code_t open_push(resend_t *r, sb_error_t *err)
{
    int64_t timeout_ms = 0, tries = 0;
    sb_code_t code = sb_cli_option_ms(r->cli, "timeout", 10000, &timeout_ms, err);
    if (code == SB_OK)
        code = sb_cli_option_int(r->cli, "tries", 1, 1000, 5, &tries, err);
    if (code != SB_OK)
        return code;
    sb_push_replay_config_t config = {.url = r->to,
                                      .secret_file = sb_cli_option(r->cli, "secret-file"),
                                      .ca_file = sb_config_get(r->cli->config, "endpoints.ca_file"),
                                      .structured = sb_cli_option(r->cli, "structured") != NULL,
                                      .timeout_ms = (uint32_t)timeout_ms,
                                      .tries = (uint32_t)tries,
                                      .is_stopped = is_stopped};
    code = sb_push_replay_open(&r->push, &config, err);
    if (code == SB_OK && sb_push_replay_is_open(r->push))
        sb_cli_note(r->cli, "http to another machine: whoever is on the way reads these events");
    return code;
}

static bool is_to_lines(const char *to)
{
    return strcmp(to, LINES) == 0 || (strncmp(to, LINES ":", sizeof LINES) == 0 && to[sizeof LINES]);
}

static sb_code_t check_options(const resend_t *r, sb_error_t *err)
{
    static const char *const of_views[] = {"all",      "dry-run",  "diff",     "jobs",       "memory",
                                           "keep-old", "to-topic", "recreate", "differences"};
    static const char *const of_urls[] = {"secret-file", "structured", "timeout", "tries"};
    for (size_t i = 0; i < sizeof of_views / sizeof of_views[0]; i++)
        if (sb_cli_option(r->cli, of_views[i]))
            return sb_fail(err, SB_INVALID, "--%s does not go with --to", of_views[i]);
    for (size_t i = 0; is_to_lines(r->to) && i < sizeof of_urls / sizeof of_urls[0]; i++)
        if (sb_cli_option(r->cli, of_urls[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with --to URL", of_urls[i]);
    if (r->cli->argument_count > 0)
        return sb_fail(err, SB_INVALID,
                       "--to sends events and takes no VIEW: choose them by --types, --stream");
    if (!is_to_lines(r->to) && !strstr(r->to, "://"))
        return sb_fail(
            err, SB_INVALID,
            "--to %s: expected a URL, " LINES " or " LINES ":FILE; a topic is filled by --to-topic", r->to);
    return SB_OK;
}

static sb_code_t open_resend(resend_t *r, sb_error_t *err)
{
    int64_t rate = 0;
    sb_code_t code = check_options(r, err);
    if (code == SB_OK)
        code = sb_cli_option_int(r->cli, "rate", 1, 1000000, 0, &rate, err);
    if (code == SB_OK)
        code = read_choice(r, err);
    if (code == SB_OK && !is_to_lines(r->to))
        code = open_push(r, err);
    if (code == SB_OK)
        code = sb_registry_open(&r->registry, r->cli, err);
    if (code == SB_OK)
        code = sb_store_new(&r->store, r->registry.pg, r->registry.catalog, err);
    if (code == SB_OK)
        code = find_start(r, err);
    if (code == SB_OK)
        code = find_end(r, err);
    if (code == SB_OK && !r->push)
        code = open_lines(r, err);
    sb_rate_init(&r->rate, (uint32_t)rate, rate > 10 ? (uint32_t)rate / 10 : 1, sb_mono_us());
    return code;
}

static void close_resend(resend_t *r)
{
    if (r->lines && r->lines != r->cli->out.to)
        (void)fclose(r->lines);
    sb_push_replay_close(&r->push);
    sb_store_close(&r->store);
    sb_registry_close(&r->registry);
    sb_buf_fini(&r->line);
}

/* What came of it: to people and, where lines are not what is printed, to programs. */
static void print_report(const resend_t *r)
{
    char shown[256];
    sb_http_show_url(r->to, shown, sizeof shown);
    if (r->cli->out.format == SB_OUTPUT_TABLE || r->lines == r->cli->out.to) {
        sb_cli_note(r->cli, "%lld events sent, up to seq %lld", (long long)r->events,
                    (long long)r->taken_seq);
        return;
    }
    json_t *report =
        json_pack("{s:s, s:I, s:I, s:I}", "to", r->push ? shown : r->to, "after", (json_int_t)r->after, "seq",
                  (json_int_t)r->taken_seq, "events", (json_int_t)r->events);
    sb_output_json(&r->cli->out, report);
    json_decref(report);
}

static void say_where(const resend_t *r, sb_code_t code)
{
    const char *again = r->position_path ? "the same command" : "--after";
    char place[32] = "";
    if (!r->position_path)
        (void)snprintf(place, sizeof place, " %" PRId64, r->taken_seq);
    sb_cli_note(r->cli, "%lld events were sent, up to seq %lld; %s%s goes on from there%s",
                (long long)r->events, (long long)r->taken_seq, again, place,
                code == SB_CONFLICT ? ", --after SEQ of the refused one leaves it out" : "");
}

sb_code_t sb_cmd_replay_to(sb_cli_t *cli, sb_error_t *err)
{
    sb_error_t ignored = SB_ERROR_INIT;
    resend_t r = {.cli = cli,
                  .to = sb_cli_option(cli, "to"),
                  .position_path = sb_cli_option(cli, "position"),
                  .start_us = sb_mono_us(),
                  .saved_us = sb_mono_us()};
    sb_code_t code = open_resend(&r, err);
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = r.key.ptr ? send_stream(&r, err) : send_all(&r, err);
        show_progress(&r, true);
        if (code == SB_OK)
            code = save_place(&r, true, err);
        else if (save_place(&r, true, &ignored) != SB_OK)
            sb_cli_note(cli, "%s", ignored.message);
        if (code == SB_OK)
            code = flush_lines(&r, err);
        if (code == SB_OK)
            print_report(&r);
        else
            say_where(&r, code);
        if (code == SB_STOPPED && sb_cli_interrupted()) {
            cli->exit_code = SB_EXIT_INTERRUPTED;
            code = SB_OK;
        }
    }
    close_resend(&r);
    return code;
}
