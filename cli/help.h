/* help - what the table of commands and that of settings say of themselves: help, completion, reference
 * pages.
 *
 * Thread: main.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_HELP_H
#define SB_CLI_HELP_H

#include "cli/command.h"

/* Help of everything (noun NULL), of a noun, or of one command. False: there is no such. */
bool sb_cli_help(const char *noun, const char *verb, sb_buf_t *out);
/* `noun verb` or `noun`, whichever it is. */
void sb_cli_command_name(const sb_cli_command_t *command, sb_buf_t *out);
/* The script for bash. */
void sb_cli_completion_bash(sb_buf_t *out);
/* docs/cli.md and docs/configuration.md. */
void sb_cli_reference(sb_buf_t *out);
void sb_cli_reference_settings(sb_buf_t *out);

#endif
