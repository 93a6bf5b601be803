/* command - the one table of commands, and what a command line says by it; help.h: what the table says of
 * itself.
 *
 * A command is "noun verb" (saga start) or a single word (serve). Its row in table.c says its arguments and
 * options; getopt_long reads them from there, beside the options that every command has and one for each
 * setting (http.listen is --http-listen). An unknown word is answered with the nearest one; long options are
 * never guessed from a prefix.
 *
 * Thread: main.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_COMMAND_H
#define SB_CLI_COMMAND_H

#include "base/config.h"
#include "cli/output.h"

/* One table: enum, code, meaning. Documented in docs/cli.md and by `sagabus help exit-codes`. */
#define SB_EXIT_MAP(ROW)                                                                                     \
    ROW(OK, 0, "done")                                                                                       \
    ROW(ERROR, 1, "it failed; the message says why")                                                         \
    ROW(USAGE, 2, "there is no such command or option, or an argument is missing")                           \
    ROW(UNREACHABLE, 3, "the server, PostgreSQL or Kafka cannot be reached")                                 \
    ROW(DENIED, 4, "not allowed: no key, a wrong one, or one without the scope")                             \
    ROW(NOT_FOUND, 5, "there is no such thing")                                                              \
    ROW(CONFLICT, 6, "someone else wrote first, or the key came with other content before")                  \
    ROW(SAGA_UNDONE, 7, "the saga that was waited for ended compensated or failed")                          \
    ROW(TIMEOUT, 8, "it did not end in the time given")                                                      \
    ROW(TAMPERED, 9, "history is not as it was sealed")                                                      \
    ROW(DIFFERENT, 10, "a view is not what its events make it")                                              \
    ROW(INTERRUPTED, 130, "interrupted by Ctrl-C")

typedef enum sb_exit {
#define SB_ROW(name, number, meaning) SB_EXIT_##name = (number),
    SB_EXIT_MAP(SB_ROW)
#undef SB_ROW
} sb_exit_t;

sb_exit_t sb_exit_of(sb_code_t code);

#define SB_CLI_OPTIONS_MAX   24
#define SB_CLI_ARGUMENTS_MAX 16

typedef struct sb_cli_option {
    const char *name;  /* long, without dashes; NULL ends the list */
    char letter;       /* 0: none */
    const char *value; /* what its value is called in help; NULL: a flag */
    const char *meaning;
} sb_cli_option_t;

typedef struct sb_cli sb_cli_t;

typedef struct sb_cli_command {
    const char *noun; /* NULL ends the table */
    const char *verb; /* NULL: the noun alone is the command */
    int arguments_min;
    int arguments_max;
    const char *arguments; /* for help: "TYPE", "VIEW [KEY]"; "" for none */
    const char *summary;
    const char *detail; /* further sentences; NULL: none */
    sb_cli_option_t options[SB_CLI_OPTIONS_MAX];
    const char *examples[4];
    sb_code_t (*run)(sb_cli_t *cli, sb_error_t *err);
} sb_cli_command_t;

extern const sb_cli_command_t sb_cli_table[];

struct sb_cli {
    const sb_cli_command_t *command;
    sb_config_t *config;
    sb_output_t out;
    int argument_count;
    const char *argument[SB_CLI_ARGUMENTS_MAX];
    const char *option[SB_CLI_OPTIONS_MAX]; /* by place in the command's list; NULL: not given */
    const char *config_file;                /* --config; NULL: sagabus.properties when it is there */
    bool quiet;
    bool help;
    bool version;
    sb_exit_t exit_code; /* what a command that succeeded ends with; 0 unless it says otherwise */
};

/* Prints nothing: SB_INVALID with the message. cli is filled anew but for config, which is borrowed and gets
 * the settings that were given as options. command stays NULL when only --help or --version was given, or a
 * noun and no verb: then *noun (borrowed from argv) says which. */
SB_MUST_CHECK sb_code_t sb_cli_parse(sb_cli_t *cli, int argc, char **argv, const char **noun,
                                     sb_error_t *err);

/* Value of one of the command's options: NULL when not given, "" for a flag. The name must be in its list. */
const char *sb_cli_option(const sb_cli_t *cli, const char *name);
/* An option as a whole number; SB_INVALID names it. absent when it was not given. */
SB_MUST_CHECK sb_code_t sb_cli_option_int(const sb_cli_t *cli, const char *name, int64_t low, int64_t high,
                                          int64_t absent, int64_t *out, sb_error_t *err);
/* As a time with ms, s, m or h (a bare number is seconds), in milliseconds. */
SB_MUST_CHECK sb_code_t sb_cli_option_ms(const sb_cli_t *cli, const char *name, int64_t absent, int64_t *out,
                                         sb_error_t *err);
/* That a file cannot be opened or read: SB_NOT_FOUND when it is not there, else SB_INVALID. */
sb_code_t sb_cli_file_failed(const char *path, int why, sb_error_t *err);
/* --traceparent: that it is one, when it was given. */
SB_MUST_CHECK sb_code_t sb_cli_check_trace(const sb_cli_t *cli, sb_error_t *err);
/* The text of an argument that is JSON itself, @FILE, or @- for standard input; ended by NUL in out. */
SB_MUST_CHECK sb_code_t sb_cli_content(const char *value, sb_buf_t *out, sb_error_t *err);

/* A row of the table; NULL: there is none. verb NULL: the noun alone. */
const sb_cli_command_t *sb_cli_find(const char *noun, const char *verb);
bool sb_cli_is_noun(const char *word);
/* What every command takes, ended by a NULL name. */
extern const sb_cli_option_t sb_cli_common_options[];

#endif
