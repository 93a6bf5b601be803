/* event verify: in this process, against PostgreSQL, so that no server need be trusted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "events/store/verify.h"
#include "migrations/list.h"

#include <inttypes.h>
#include <unistd.h>

static sb_code_t parse_hash(const char *text, sb_hash_t *out, sb_error_t *err)
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != 2 * sizeof out->byte || strspn(text, digits) != 2 * sizeof out->byte)
        return sb_fail(err, SB_INVALID,
                       "--root %s: expected the 64 hexadecimal digits that event verify printed as head",
                       text);
    for (size_t i = 0; i < sizeof out->byte; i++) {
        const char *at = text + 2 * i;
        out->byte[i] = (uint8_t)((strchr(digits, at[0]) - digits) << 4 | (strchr(digits, at[1]) - digits));
    }
    return SB_OK;
}

static sb_code_t show_progress(void *context, const sb_verify_progress_t *p, sb_error_t *err)
{
    const sb_cli_t *cli = context;
    if (sb_cli_interrupted())
        return sb_fail(err, SB_STOPPED, "interrupted");
    if (!cli->quiet && isatty(STDERR_FILENO))
        (void)fprintf(stderr, "\r%" PRId64 " of %" PRId64 ", %" PRId64 " events ", p->seq, p->seq_end,
                      p->events);
    return SB_OK;
}

static json_t *fault_json(const sb_verify_report_t *r)
{
    if (r->fault == SB_FAULT_NONE)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:s, s:i, s:s}", "kind", sb_fault_name(r->fault), "seq",
                     (json_int_t)r->fault_seq, "stream_no", (json_int_t)r->fault_stream_no, "stream",
                     r->fault_stream, "version", r->fault_version, "text", r->fault_text);
}

static void print_report(sb_cli_t *cli, const sb_verify_report_t *r)
{
    char head[SB_HASH_TEXT];
    json_t *result = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", "intact", r->fault == SB_FAULT_NONE, "events",
        (json_int_t)r->events, "seals", (json_int_t)r->seals, "erased", (json_int_t)r->erased,
        "detached_seals", (json_int_t)r->detached_seals, "sealed_to", (json_int_t)r->sealed_to, "safe_seq",
        (json_int_t)r->safe_seq, "head_seq", (json_int_t)r->head_seq, "head",
        r->seals ? sb_hash_format(&r->head, head) : "", "fault", fault_json(r));
    sb_output_object(&cli->out, result);
    json_decref(result);
    if (r->detached_seals)
        sb_cli_note(cli,
                    "up to %" PRId64
                    " events were detached: their seals follow each other, what they held is no longer here",
                    r->detached_to);
    if (r->fault == SB_FAULT_NONE && r->safe_seq > r->sealed_to)
        sb_cli_note(cli,
                    "events after %" PRId64 ", up to %" PRId64
                    ", are not sealed yet and not proven (store.seal_ms)",
                    r->sealed_to, r->safe_seq);
    if (r->fault == SB_FAULT_NONE && r->root_seq)
        sb_cli_note(cli, "the hash that was kept is that of the seal that ends at %" PRId64, r->root_seq);
    if (r->fault != SB_FAULT_NONE)
        sb_cli_note(cli, "sagabus: %s", r->fault_text);
}

sb_code_t sb_cmd_event_verify(sb_cli_t *cli, sb_error_t *err)
{
    const char *root = sb_cli_option(cli, "root");
    sb_hash_t kept;
    sb_verify_report_t report;
    sb_verify_config_t config = {.root = root ? &kept : NULL, .on_progress = show_progress, .context = cli};
    sb_code_t code = sb_cli_option_int(cli, "from", 1, INT64_MAX, 0, &config.from, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "to", 1, INT64_MAX, 0, &config.to, err);
    if (code == SB_OK && config.to && config.from > config.to)
        code =
            sb_fail(err, SB_INVALID, "--from %" PRId64 " lies behind --to %" PRId64, config.from, config.to);
    if (code == SB_OK && root)
        code = parse_hash(root, &kept, err);
    if (code == SB_OK)
        code = sb_cli_pg(cli, true, &config.pg, err);
    if (code == SB_OK)
        code = sb_migrate_check(config.pg, SB_SCHEMA, sb_migrations, err);
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = sb_verify_run(&config, &report, err);
        if (!cli->quiet && isatty(STDERR_FILENO))
            (void)fputs("\r\033[K", stderr);
    }
    sb_pg_close(&config.pg);
    if (code == SB_STOPPED) {
        cli->exit_code = SB_EXIT_INTERRUPTED;
        return SB_OK;
    }
    if (code != SB_OK)
        return code;
    print_report(cli, &report);
    if (report.fault != SB_FAULT_NONE)
        cli->exit_code = SB_EXIT_TAMPERED;
    return SB_OK;
}
