/* event append --file: many events of JSON lines, in this process, against PostgreSQL.
 *
 * The lines go in chunks, each one transaction under a command id that follows from the batch and the chunk's
 * first line. So the same command again, after whatever ended it, appends nothing twice: the store knows the
 * chunks that it has. The batch is the one that was named, or follows from the first event: another file is
 * another batch, a file that has grown or was changed is still the same one, and a chunk of it that is not
 * what was appended is refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/scan.h"
#include "cli/commands.h"
#include "cli/registry.h"
#include "events/store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK_LINES     500
#define CHUNK_LINES_MAX 5000
#define CHUNK_BYTES     (8u << 20)
#define LINE_BYTES_MAX  (4u << 20) /* an event of the largest size, escaped */
#define TRIES           6          /* while the outcome of a chunk is not known */
#define PROGRESS_US     200000

static const sb_uuid_t batch_space = {
    {0x7d, 0x31, 0x5b, 0x0e, 0x52, 0x6f, 0x4b, 0x8a, 0x8f, 0x0c, 0x61, 0x92, 0xd4, 0x3e, 0x77, 0x15}};

enum {
    TYPE,
    SUBJECT,
    KEY,
    DATA,
    ID,
    SOURCE,
    TIME,
    DATASCHEMA,
    CORRELATION,
    CAUSATION,
    TRACEPARENT,
    PARTITION_KEY,
    MEMBERS
};

static const char *const members[MEMBERS] = {
    "type", "subject",    "key",           "data",        "id",          "source",
    "time", "dataschema", "correlationid", "causationid", "traceparent", "partitionkey"};

/* Of events that were read from a store; nothing to append. */
static const char *const ignored[] = {"specversion", "datacontenttype", "seq", "version", "writtenschema"};

typedef struct import {
    sb_cli_t *cli;
    const char *name; /* of the file, for messages */
    FILE *file;
    bool dry_run;
    int64_t chunk_lines;
    sb_registry_t registry;
    sb_store_t *store;
    sb_uuid_t batch;
    bool has_batch;
    /* the chunk in hand */
    int64_t first_line; /* of the chunk, from 1; of the file's lines */
    int64_t next_line;
    sb_buf_t text;      /* its lines */
    sb_buf_t plain;     /* strings that had escapes; never moves while it is filled */
    sb_event_t *events; /* room for CHUNK_LINES_MAX of each */
    sb_append_t *appends;
    sb_append_result_t *results;
    int64_t *lines; /* of each event */
    size_t *ends;   /* of each event's line in text */
    size_t count;
    bool at_end;
    bool read_ahead; /* the chunk's lines are there already */
    char *line;      /* getline's */
    size_t line_cap;
    /* the whole */
    int64_t appended, repeated, chunks, last_seq;
    int64_t start_us, shown_us;
} import_t;

/* ---- lines ---- */

static sb_code_t at_line(const import_t *import, int64_t line, sb_error_t *err)
{
    return sb_context(err, err ? err->code : SB_INVALID, "%s:%lld%s%s", import->name, (long long)line,
                      err && err->pointer[0] ? ": " : "", err ? err->pointer : "");
}

static sb_code_t read_failed(const import_t *import, sb_error_t *err)
{
    return sb_cli_file_failed(import->name, errno, err);
}

static bool is_blank(const char *line, size_t length)
{
    return strspn(line, " \t\r\n") >= length;
}

/* Fills text with the lines of the next chunk; its place depends on the file alone. */
static sb_code_t read_lines(import_t *import, sb_error_t *err)
{
    sb_buf_reset(&import->text);
    import->count = 0;
    import->first_line = import->next_line;
    while (import->count < (size_t)import->chunk_lines && import->text.len < CHUNK_BYTES) {
        errno = 0;
        ssize_t length = getline(&import->line, &import->line_cap, import->file);
        import->at_end = length < 0;
        if (import->at_end)
            return errno && !feof(import->file) ? read_failed(import, err) : SB_OK;
        int64_t number = import->next_line++;
        if (is_blank(import->line, (size_t)length))
            continue;
        if ((size_t)length > LINE_BYTES_MAX) {
            (void)sb_fail(err, SB_TOO_LARGE, "the line has %lld bytes", (long long)length);
            return at_line(import, number, err);
        }
        sb_buf_add(&import->text, import->line, (size_t)length);
        import->lines[import->count] = number;
        import->ends[import->count++] = import->text.len;
    }
    return sb_buf_failed(&import->text) ? sb_fail(err, SB_NO_MEMORY, "out of memory") : SB_OK;
}

/* ---- one event ---- */

static int member_of(sb_slice_t quoted)
{
    sb_slice_t name = {quoted.ptr + 1, quoted.len - 2};
    for (int i = 0; i < MEMBERS; i++)
        if (sb_slice_is(name, members[i]))
            return i;
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        if (sb_slice_is(name, ignored[i]))
            return MEMBERS;
    return -1;
}

static sb_code_t fail_member(const char *name, const char *why, sb_error_t *err)
{
    char pointer[64];
    (void)snprintf(pointer, sizeof pointer, "/%s", name);
    return sb_fail_at(err, SB_INVALID, pointer, "%s", why);
}

static sb_slice_t plain_text(import_t *import, const sb_scan_value_t *value)
{
    sb_buf_t scratch = SB_BUF_INIT;
    sb_slice_t text = sb_scan_string(value, &scratch);
    if (value->escaped && text.ptr) {
        size_t at = import->plain.len;
        sb_buf_add_slice(&import->plain, text);
        text = (sb_slice_t){import->plain.ptr + at, text.len};
    }
    sb_buf_fini(&scratch);
    return text;
}

static sb_code_t scan_members(import_t *import, sb_slice_t line, sb_slice_t found[MEMBERS], sb_error_t *err)
{
    sb_scan_value_t name, value;
    size_t bad_at = 0, at = 0;
    while (line.len && strchr(" \t\r\n", line.ptr[0]))
        line = (sb_slice_t){line.ptr + 1, line.len - 1};
    if (!sb_scan_valid(line, &bad_at))
        return sb_fail(err, SB_INVALID, "not JSON: byte %zu", bad_at);
    if (line.ptr[0] != '{')
        return sb_fail(err, SB_INVALID, "an event is a JSON object");
    while (sb_scan_next(line, &at, &name, &value)) {
        int member = member_of(name.text);
        if (member < 0)
            return sb_fail(err, SB_INVALID, "member %.*s is not known", SB_SLICE_ARG(name.text));
        if (member == MEMBERS)
            continue;
        if (found[member].ptr)
            return fail_member(members[member], "is there twice", err);
        if (member != DATA && value.kind != SB_SCAN_STRING)
            return fail_member(members[member], "a string is wanted", err);
        found[member] = member == DATA ? value.text : plain_text(import, &value);
    }
    return SB_OK;
}

/* What the store would refuse, said of the line. */
static sb_code_t check_event(const import_t *import, const sb_event_t *event, sb_error_t *err)
{
    if (!sb_event_type_ok(event->type))
        return fail_member("type", "must be labels of a-z, 0-9, _ and -, as order.created", err);
    if (event->subject.len == 0 || event->subject.len > SB_KEY_MAX ||
        memchr(event->subject.ptr, '\0', event->subject.len))
        return fail_member("subject", "the stream's key has 1 to 255 bytes of text", err);
    if (!import->registry.catalog) /* the first lines, before a database is asked */
        return SB_OK;
    const sb_event_type_t *type =
        sb_catalog_type(import->registry.catalog, event->type, event->schema_version);
    if (!type)
        return fail_member(
            "type", "this type and version is not registered (sagabus schema list, schema apply)", err);
    sb_error_t why = SB_ERROR_INIT;
    if (sb_schema_validate(type->schema, event->data, &why) == SB_OK)
        return SB_OK;
    char pointer[sizeof why.pointer + 8];
    (void)snprintf(pointer, sizeof pointer, "/data%s", why.pointer);
    return sb_fail_at(err, why.code, pointer, "%s", why.message);
}

static sb_code_t parse_event(import_t *import, sb_slice_t line, sb_event_t *event, sb_error_t *err)
{
    sb_slice_t found[MEMBERS] = {{NULL, 0}};
    sb_code_t code = scan_members(import, line, found, err);
    if (code != SB_OK)
        return code;
    if (found[KEY].ptr && found[SUBJECT].ptr)
        return fail_member("key", "subject is the same; give one of them", err);
    sb_slice_t key = found[KEY].ptr ? found[KEY] : found[SUBJECT];
    if (!found[TYPE].ptr || !key.ptr || !found[DATA].ptr)
        return fail_member(!found[TYPE].ptr ? "type" : !key.ptr ? "subject" : "data", "is missing", err);
    *event = (sb_event_t){.type = found[TYPE],
                          .schema_version = sb_catalog_version_of(found[DATASCHEMA]),
                          .source = found[SOURCE],
                          .subject = key,
                          .correlation_id = found[CORRELATION],
                          .causation_id = found[CAUSATION],
                          .traceparent = found[TRACEPARENT],
                          .partition_key = found[PARTITION_KEY],
                          .data = found[DATA]};
    if (found[TIME].ptr && !sb_time_parse(found[TIME], &event->time_us))
        return fail_member("time", "is not RFC 3339, as 2026-11-21T05:19:35Z", err);
    if (found[ID].ptr && !sb_uuid_parse(found[ID].ptr, found[ID].len, &event->id))
        event->id = sb_uuid_v5(&batch_space, found[ID].ptr, found[ID].len);
    return check_event(import, event, err);
}

/* ---- a chunk ---- */

static sb_code_t parse_chunk(import_t *import, sb_error_t *err)
{
    size_t at = 0;
    sb_buf_reset(&import->plain);
    if (!sb_buf_reserve(&import->plain, import->text.len + 1))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < import->count; i++) {
        sb_slice_t line = {import->text.ptr + at, import->ends[i] - at};
        if (parse_event(import, line, &import->events[i], err) != SB_OK)
            return at_line(import, import->lines[i], err);
        if (!import->has_batch)
            import->batch = sb_uuid_v5(&batch_space, line.ptr, line.len);
        import->has_batch = true;
        at = import->ends[i];
    }
    return SB_OK;
}

/* Neighbours of one stream are one append; the order of the file stays. */
static size_t group(import_t *import)
{
    size_t groups = 0;
    for (size_t i = 0; i < import->count; i++) {
        const sb_event_t *event = &import->events[i];
        sb_append_t *last = groups ? &import->appends[groups - 1] : NULL;
        if (last && sb_slice_equal(last->key, event->subject) &&
            sb_slice_equal(last->category, sb_event_category(event->type)))
            last->count++;
        else
            import->appends[groups++] = (sb_append_t){.category = sb_event_category(event->type),
                                                      .key = event->subject,
                                                      .expect = SB_EXPECT_ANY,
                                                      .events = event,
                                                      .count = 1};
    }
    return groups;
}

static sb_uuid_t command_of(const import_t *import)
{
    char name[48];
    int length = snprintf(name, sizeof name, "lines %lld", (long long)import->first_line);
    return sb_uuid_v5(&import->batch, name, (size_t)length);
}

/* The connection may break at any moment, the commit's too: the command id makes asking again harmless. */
static sb_code_t try_append(import_t *import, size_t groups, sb_error_t *err)
{
    sb_uuid_t command = command_of(import);
    sb_code_t code = SB_OK;
    for (int tries = 1; tries <= TRIES; tries++) {
        sb_error_clear(err);
        if (!sb_pg_is_open(import->registry.pg))
            code = sb_pg_reopen(import->registry.pg, err);
        else
            code = SB_OK;
        if (code == SB_OK)
            code =
                sb_store_append_many(import->store, import->appends, groups, &command, import->results, err);
        if (code != SB_UNKNOWN_OUTCOME && code != SB_UNAVAILABLE)
            return code;
        if (sb_cli_interrupted())
            break;
        sb_sleep_ms(100 * tries);
    }
    return code;
}

static sb_code_t append_chunk(import_t *import, sb_error_t *err)
{
    size_t groups = group(import);
    sb_code_t code = try_append(import, groups, err);
    if (code == SB_MISMATCH)
        return sb_fail(
            err, code,
            "%s:%lld: lines %lld to %lld were appended before with other content; put what is new into a "
            "file of its own, or give this one a --batch-id of its own",
            import->name, (long long)import->first_line, (long long)import->first_line,
            (long long)import->next_line - 1);
    if (code != SB_OK)
        return sb_context(err, code, "%s:%lld: lines %lld to %lld", import->name,
                          (long long)import->first_line, (long long)import->first_line,
                          (long long)import->next_line - 1);
    import->chunks++;
    import->last_seq = import->results[groups - 1].last_seq;
    if (import->results[0].outcome == SB_APPEND_REPEATED)
        import->repeated += (int64_t)import->count;
    else
        import->appended += (int64_t)import->count;
    return SB_OK;
}

/* ---- the whole ---- */

static void show_progress(import_t *import, bool last)
{
    int64_t now = sb_mono_us();
    if (import->cli->quiet || !isatty(STDERR_FILENO) || (!last && now - import->shown_us < PROGRESS_US))
        return;
    import->shown_us = now;
    int64_t done = import->appended + import->repeated;
    int64_t rate = done * 1000000 / (now - import->start_us + 1);
    (void)fprintf(stderr, "\rline %lld, %lld events, %lld/s %s", (long long)import->next_line - 1,
                  (long long)done, (long long)rate, last ? "\n" : "");
}

static sb_code_t run_chunks(import_t *import, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    import->start_us = sb_mono_us();
    while (code == SB_OK && (import->read_ahead || !import->at_end) && !sb_cli_interrupted()) {
        if (!import->read_ahead)
            code = read_lines(import, err);
        import->read_ahead = false;
        if (code != SB_OK || import->count == 0)
            break;
        code = parse_chunk(import, err);
        if (code == SB_OK && import->dry_run)
            import->appended += (int64_t)import->count;
        else if (code == SB_OK)
            code = append_chunk(import, err);
        show_progress(import, false);
    }
    show_progress(import, true);
    return code;
}

static void print_report(const import_t *import)
{
    char batch[SB_UUID_TEXT];
    json_t *report =
        import->dry_run
            ? json_pack("{s:I, s:b}", "valid", (json_int_t)import->appended, "dry_run", 1)
            : json_pack("{s:I, s:I, s:I, s:I, s:s}", "appended", (json_int_t)import->appended, "repeated",
                        (json_int_t)import->repeated, "chunks", (json_int_t)import->chunks, "last_seq",
                        (json_int_t)import->last_seq, "batch", sb_uuid_format(&import->batch, batch));
    sb_output_object(&import->cli->out, report);
    json_decref(report);
}

static sb_code_t open_import(import_t *import, sb_error_t *err)
{
    sb_cli_t *cli = import->cli;
    const char *batch = sb_cli_option(cli, "batch-id");
    sb_code_t code =
        sb_cli_option_int(cli, "chunk", 1, CHUNK_LINES_MAX, CHUNK_LINES, &import->chunk_lines, err);
    if (code != SB_OK)
        return code;
    import->next_line = 1;
    import->has_batch = batch != NULL;
    if (batch)
        import->batch = sb_uuid_v5(&batch_space, batch, strlen(batch));
    size_t room = (size_t)import->chunk_lines;
    import->events = calloc(room, sizeof *import->events);
    import->appends = calloc(room, sizeof *import->appends);
    import->results = calloc(room, sizeof *import->results);
    import->lines = calloc(room, sizeof *import->lines);
    import->ends = calloc(room, sizeof *import->ends);
    if (!import->events || !import->appends || !import->results || !import->lines || !import->ends)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    import->file = strcmp(import->name, "-") == 0 ? stdin : fopen(import->name, "re");
    if (!import->file)
        return read_failed(import, err);
    code = read_lines(import, err); /* what is wrong with the first lines is said without a database */
    if (code == SB_OK)
        code = parse_chunk(import, err);
    import->read_ahead = true;
    if (code == SB_OK)
        code = sb_registry_open(&import->registry, cli, err);
    return code == SB_OK ? sb_store_new(&import->store, import->registry.pg, import->registry.catalog, err)
                         : code;
}

static void close_import(import_t *import)
{
    sb_store_close(&import->store);
    sb_registry_close(&import->registry);
    if (import->file && import->file != stdin)
        (void)fclose(import->file);
    sb_buf_fini(&import->text);
    sb_buf_fini(&import->plain);
    free(import->events);
    free(import->appends);
    free(import->results);
    free(import->lines);
    free(import->ends);
    free(import->line);
}

sb_code_t sb_cmd_event_append_file(sb_cli_t *cli, const char *name, sb_error_t *err)
{
    import_t import = {.cli = cli, .name = name, .dry_run = sb_cli_option(cli, "dry-run") != NULL};
    sb_code_t code = open_import(&import, err);
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = run_chunks(&import, err);
        int64_t done = import.appended + import.repeated;
        if (code == SB_OK)
            print_report(&import);
        else if (done > 0 && !import.dry_run)
            sb_cli_note(cli, "%lld events before line %lld are appended; the same command goes on from there",
                        (long long)done, (long long)import.first_line);
        if (code == SB_OK && !import.at_end && sb_cli_interrupted())
            cli->exit_code = SB_EXIT_INTERRUPTED;
    }
    close_import(&import);
    return code;
}
