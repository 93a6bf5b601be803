/* The sagabus binary: settings, the command line, one command, its exit code.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "sagabus/version.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>

static void print_error(const sb_error_t *err)
{
    (void)fprintf(stderr, "sagabus: %s\n", err->message[0] ? err->message : sb_code_text(err->code));
    if (err->pointer[0])
        (void)fprintf(stderr, "  at %s\n", err->pointer);
}

/* Environment and file; options were set while parsing, and win. */
static sb_code_t load_settings(sb_cli_t *cli, sb_error_t *err)
{
    const char *file = cli->config_file ? cli->config_file : "sagabus.properties";
    sb_code_t code = sb_config_load_environment(cli->config, err);
    if (code == SB_OK)
        code = sb_config_load_file(cli->config, file, err);
    if (code == SB_NOT_FOUND && !cli->config_file) {
        sb_error_clear(err);
        code = SB_OK;
    }
    return code;
}

/* People read the messages of a command; the log is for a server, and for who asks for it. A subscriber runs
 * for long, too: what it gives up is not to be missed. */
static sb_code_t set_log_level(const sb_cli_t *cli, sb_error_t *err)
{
    sb_log_level_t level;
    const char *text = sb_config_get(cli->config, "log.level");
    bool asked = strcmp(sb_config_source(cli->config, "log.level"), "default") != 0;
    if (!sb_log_parse_level(text, &level))
        return sb_fail(err, SB_INVALID, "log.level = \"%s\" (%s): expected debug, info, warn, error or off",
                       text, sb_config_source(cli->config, "log.level"));
    bool serves = strcmp(cli->command->noun, "serve") == 0;
    bool subscribes = strcmp(cli->command->noun, "subscribe") == 0 && !cli->quiet;
    sb_log_set_level(serves || asked ? level : subscribes ? SB_LOG_WARN : SB_LOG_ERROR);
    return SB_OK;
}

static sb_exit_t print_help(const char *noun, const char *verb, FILE *to)
{
    sb_buf_t text = SB_BUF_INIT;
    bool found = sb_cli_help(noun, verb, &text);
    (void)fputs(sb_buf_text(&text), to);
    sb_buf_fini(&text);
    return found && to == stdout ? SB_EXIT_OK : SB_EXIT_USAGE;
}

static sb_exit_t run(sb_cli_t *cli, int argc, char **argv)
{
    sb_error_t err = SB_ERROR_INIT;
    const char *noun = NULL;
    if (sb_cli_parse(cli, argc, argv, &noun, &err) != SB_OK) {
        print_error(&err);
        return SB_EXIT_USAGE;
    }
    if (cli->version) {
        (void)printf("sagabus %s\n", SB_VERSION);
        return SB_EXIT_OK;
    }
    if (cli->help || !cli->command)
        return print_help(noun, cli->command ? cli->command->verb : NULL, cli->help ? stdout : stderr);
    sb_code_t code = load_settings(cli, &err);
    if (code == SB_OK)
        code = set_log_level(cli, &err);
    if (code == SB_OK)
        code = cli->command->run(cli, &err);
    if (code != SB_OK) {
        print_error(&err);
        return cli->exit_code ? cli->exit_code : sb_exit_of(code);
    }
    return cli->exit_code;
}

int main(int argc, char **argv)
{
    sb_cli_t cli = {.config = NULL};
    sb_error_t err = SB_ERROR_INIT;
    (void)setlocale(LC_CTYPE, "");
    (void)signal(SIGPIPE, SIG_IGN);
    if (sb_config_new(&cli.config, &err) != SB_OK) {
        print_error(&err);
        return SB_EXIT_ERROR;
    }
    sb_exit_t code = run(&cli, argc, argv);
    sb_config_free(&cli.config);
    if (fflush(stdout) != 0 && errno != EPIPE && code == SB_EXIT_OK) {
        (void)fprintf(stderr, "sagabus: standard output: %s\n", strerror(errno));
        return SB_EXIT_ERROR;
    }
    return (int)code;
}
