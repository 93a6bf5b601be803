/* What several commands need: a connection, a note to the person, a page of a list, Ctrl-C.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t interrupted;

sb_code_t sb_cli_pg(const sb_cli_t *cli, bool unlimited, sb_pg_t **out, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = sb_config_get(cli->config, "pg.uri"),
                             .application_name = "sagabus-cli",
                             .statement_timeout_ms = unlimited ? UINT32_MAX : 0};
    sb_code_t code = sb_pg_open(out, &config, err);
    if (code == SB_UNAVAILABLE && strcmp(sb_config_source(cli->config, "pg.uri"), "default") == 0)
        return sb_context(err, code, "no PostgreSQL there (say where it is: --pg URI or SAGABUS_PG)");
    return code;
}

void sb_cli_note(const sb_cli_t *cli, const char *format, ...)
{
    if (cli->quiet)
        return;
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

void sb_cli_print_page(sb_cli_t *cli, const json_t *page, const sb_column_t *columns)
{
    const json_t *items = json_object_get(page, "items");
    const char *next = json_string_value(json_object_get(page, "next_cursor"));
    if (cli->out.format == SB_OUTPUT_JSON)
        sb_output_json(&cli->out, page);
    else if (columns)
        sb_output_items(&cli->out, items, columns);
    else if (json_array_size(items) > 0)
        sb_output_rows(&cli->out, items);
    if (next && cli->out.format == SB_OUTPUT_TABLE)
        sb_cli_note(cli, "there are more: --cursor %s", next);
}

static void on_interrupt(int signal_number)
{
    interrupted = signal_number;
}

void sb_cli_catch_interrupt(void)
{
    /* the second Ctrl-C ends the process at once */
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool sb_cli_interrupted(void)
{
    return interrupted != 0;
}
