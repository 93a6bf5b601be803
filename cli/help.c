/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <stdio.h>

/* ---- help ---- */

void sb_cli_command_name(const sb_cli_command_t *command, sb_buf_t *out)
{
    sb_buf_printf(out, "%s%s%s", command->noun, command->verb ? " " : "", command->verb ? command->verb : "");
}

static void help_option(sb_buf_t *out, const sb_cli_option_t *option)
{
    char head[64];
    char letter[8] = "    ";
    if (option->letter)
        (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
    (void)snprintf(head, sizeof head, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
                   option->value ? option->value : "");
    sb_buf_printf(out, "  %-28s  %s\n", head, option->meaning);
}

static void help_options(sb_buf_t *out, const char *title, const sb_cli_option_t *options)
{
    if (!options[0].name)
        return;
    sb_buf_printf(out, "\n%s:\n", title);
    for (int i = 0; options[i].name; i++)
        help_option(out, &options[i]);
}

static void help_row(sb_buf_t *out, const sb_cli_command_t *command)
{
    sb_buf_t name = SB_BUF_INIT;
    sb_cli_command_name(command, &name);
    sb_buf_printf(out, "  %-18s %s\n", sb_buf_text(&name), command->summary);
    sb_buf_fini(&name);
}

static void help_command(sb_buf_t *out, const sb_cli_command_t *command)
{
    sb_buf_add_text(out, "usage: sagabus ");
    sb_cli_command_name(command, out);
    if (command->arguments[0])
        sb_buf_printf(out, " %s", command->arguments);
    sb_buf_printf(out, " [OPTION...]\n\n%s.\n", command->summary);
    if (command->detail)
        sb_buf_printf(out, "%s\n", command->detail);
    if (command->examples[0])
        sb_buf_add_text(out, "\nExamples:\n");
    for (int i = 0; i < 4 && command->examples[i]; i++)
        sb_buf_printf(out, "  %s\n", command->examples[i]);
    help_options(out, "Options", command->options);
    help_options(out, "Options of every command", sb_cli_common_options);
    sb_buf_add_text(out, "\nEach setting is an option too: sagabus help settings\n");
}

static void help_all(sb_buf_t *out)
{
    sb_buf_add_text(out, "sagabus: event bus, event store and saga orchestrator for Kafka and PostgreSQL\n\n"
                         "usage: sagabus COMMAND [ARGUMENT...] [OPTION...]\n\n");
    const char *before = "";
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        if (before[0] && strcmp(before, c->noun) != 0 && (c->verb || sb_cli_find(before, NULL) == NULL))
            sb_buf_add_char(out, '\n');
        help_row(out, c);
        before = c->noun;
    }
    sb_buf_add_text(out,
                    "\nsagabus COMMAND --help shows its options and examples; sagabus help settings and\n"
                    "sagabus help exit-codes what their names say.\n");
}

static void help_exit_codes(sb_buf_t *out)
{
#define SB_ROW(name, number, meaning) sb_buf_printf(out, "%4d  %s\n", number, meaning);
    SB_EXIT_MAP(SB_ROW)
#undef SB_ROW
}

static void help_rows(sb_buf_t *out, const sb_config_row_t *rows)
{
    for (; rows->name; rows++)
        sb_buf_printf(out, "  %-26s %-22s %s\n", rows->name,
                      rows->default_value[0] ? rows->default_value : "-", rows->meaning);
}

static void help_settings(sb_buf_t *out)
{
    sb_buf_add_text(out, "Setting, default, meaning. http.listen is --http-listen on the command line,\n"
                         "SAGABUS_HTTP_LISTEN in the environment and http.listen= in sagabus.properties;\n"
                         "the first of these that gives it counts.\n\n");
    help_rows(out, sb_config_table);
    sb_buf_add_text(out, "\n  kafka.*                    any other setting of librdkafka\n"
                         "\nOf each participant of sagas, as participant.NAME.SETTING:\n\n");
    help_rows(out, sb_config_participant_table);
    sb_buf_add_text(out, "\nOf each endpoint of push subscriptions, as push.NAME.SETTING:\n\n");
    help_rows(out, sb_config_push_table);
}

bool sb_cli_help(const char *noun, const char *verb, sb_buf_t *out)
{
    if (!noun) {
        help_all(out);
        return true;
    }
    if (strcmp(noun, "exit-codes") == 0 || strcmp(noun, "settings") == 0) {
        (noun[0] == 'e' ? help_exit_codes : help_settings)(out);
        return true;
    }
    const sb_cli_command_t *command = sb_cli_find(noun, verb);
    if (command) {
        help_command(out, command);
        return true;
    }
    if (verb || !sb_cli_is_noun(noun))
        return false;
    sb_buf_printf(out, "usage: sagabus %s VERB [ARGUMENT...] [OPTION...]\n\n", noun);
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++)
        if (strcmp(c->noun, noun) == 0)
            help_row(out, c);
    return true;
}

/* ---- completion ---- */

static void completion_options(sb_buf_t *out, const sb_cli_option_t *options)
{
    for (int i = 0; options[i].name; i++)
        sb_buf_printf(out, " --%s", options[i].name);
}

static void completion_command(sb_buf_t *out, const sb_cli_command_t *command)
{
    sb_buf_add_text(out, "    \"");
    sb_cli_command_name(command, out);
    sb_buf_add_text(out, "\") words=\"$common");
    completion_options(out, command->options);
    sb_buf_add_text(out, "\" ;;\n");
}

/* The nouns, or the verbs of a noun, each once. */
static void completion_words(sb_buf_t *out, const char *noun)
{
    const char *before = "";
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        const char *word = noun ? c->verb : c->noun;
        if ((noun && strcmp(c->noun, noun) != 0) || !word || strcmp(word, before) == 0)
            continue;
        sb_buf_printf(out, " %s", word);
        before = word;
    }
}

void sb_cli_completion_bash(sb_buf_t *out)
{
    sb_buf_add_text(out, "# bash completion of sagabus; written by `sagabus completion bash`.\n"
                         "_sagabus() {\n"
                         "  local current=${COMP_WORDS[COMP_CWORD]} first= second= words= word i common=\"");
    for (int i = 0; sb_cli_common_options[i].name; i++)
        sb_buf_printf(out, "%s--%s", i ? " " : "", sb_cli_common_options[i].name);
    sb_buf_add_text(out,
                    "\"\n  for ((i = 1; i < COMP_CWORD; i++)); do\n"
                    "    word=${COMP_WORDS[i]}\n"
                    "    case $word in -*) continue ;; esac\n"
                    "    if [[ -z $first ]]; then first=$word; elif [[ -z $second ]]; then second=$word; fi\n"
                    "  done\n"
                    "  case $first in\n    \"\") words=\"$common");
    completion_words(out, NULL);
    sb_buf_add_text(out, "\" ;;\n");
    const char *before = "";
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        if (!c->verb) {
            completion_command(out, c);
        } else if (strcmp(before, c->noun) != 0) {
            sb_buf_printf(out, "    %s) case \"$first $second\" in\n    \"%s \") words=\"", c->noun, c->noun);
            completion_words(out, c->noun);
            sb_buf_add_text(out, "\" ;;\n");
            for (const sb_cli_command_t *v = c; v->noun && strcmp(v->noun, c->noun) == 0; v++)
                completion_command(out, v);
            sb_buf_add_text(out, "    esac ;;\n");
        }
        before = c->noun;
    }
    sb_buf_add_text(
        out, "  esac\n"
             "  case $current in @*) COMPREPLY=($(compgen -P @ -f -- \"${current#@}\")); return ;; esac\n"
             "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
             "}\n"
             "complete -o default -F _sagabus sagabus\n");
}

/* ---- the reference pages ---- */

static void reference_options(sb_buf_t *out, const sb_cli_option_t *options)
{
    sb_buf_add_text(out, "\n| option | meaning |\n|---|---|\n");
    for (int i = 0; options[i].name; i++) {
        sb_buf_add_text(out, "| `");
        if (options[i].letter)
            sb_buf_printf(out, "-%c`, `", options[i].letter);
        sb_buf_printf(out, "--%s%s%s` | %s |\n", options[i].name, options[i].value ? " " : "",
                      options[i].value ? options[i].value : "", options[i].meaning);
    }
}

static void reference_command(sb_buf_t *out, const sb_cli_command_t *command)
{
    sb_buf_add_text(out, "\n### sagabus ");
    sb_cli_command_name(command, out);
    if (command->arguments[0])
        sb_buf_printf(out, " %s", command->arguments);
    sb_buf_printf(out, "\n\n%s.", command->summary);
    if (command->detail)
        sb_buf_printf(out, "\n%s", command->detail);
    sb_buf_add_char(out, '\n');
    if (command->options[0].name)
        reference_options(out, command->options);
    if (command->examples[0])
        sb_buf_add_text(out, "\n```sh\n");
    for (int i = 0; i < 4 && command->examples[i]; i++)
        sb_buf_printf(out, "%s\n", command->examples[i]);
    if (command->examples[0])
        sb_buf_add_text(out, "```\n");
}

void sb_cli_reference(sb_buf_t *out)
{
    sb_buf_add_text(
        out,
        "# The command line\n\n"
        "This page is written by `sagabus reference cli` from the table of commands; a test compares "
        "them.\n\n"
        "Data goes to standard output, messages to standard error. A setting counts in this order: option,\n"
        "environment (`SAGABUS_…`), `sagabus.properties`, default; see [configuration](configuration.md).\n"
        "\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
#define SB_ROW(name, number, meaning) sb_buf_printf(out, "| %d | %s |\n", number, meaning);
    SB_EXIT_MAP(SB_ROW)
#undef SB_ROW
    sb_buf_add_text(out, "\n## Options of every command\n");
    reference_options(out, sb_cli_common_options);
    sb_buf_add_text(out, "\n## Commands\n");
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++)
        reference_command(out, c);
}

static void reference_rows(sb_buf_t *out, const sb_config_row_t *rows)
{
    for (; rows->name; rows++)
        sb_buf_printf(out, "| `%s` | %s%s%s | %s |\n", rows->name, rows->default_value[0] ? "`" : "",
                      rows->default_value, rows->default_value[0] ? "`" : "", rows->meaning);
}

void sb_cli_reference_settings(sb_buf_t *out)
{
    sb_buf_add_text(
        out,
        "# Configuration\n\n"
        "This page is written by `sagabus reference settings` from the table of settings; a test compares "
        "them.\n\n"
        "`http.listen` is `--http-listen` on the command line, `SAGABUS_HTTP_LISTEN` in the environment and\n"
        "`http.listen=` in `sagabus.properties`; the first of these that gives it counts. Names that end in\n"
        "`_ms` take `ms`, `s`, `m`, `h`; names that end in `_bytes` take `k`, `m`. Keep secrets in the file "
        "(not\n"
        "readable by others) or in the environment, not on the command line.\n\n"
        "| setting | default | meaning |\n|---|---|---|\n");
    reference_rows(out, sb_config_table);
    sb_buf_add_text(
        out,
        "| `kafka.*` | | any other setting of librdkafka, without the prefix |\n\n"
        "## Participants\n\n"
        "Of each participant of sagas, as `participant.<name>.<setting>`; in the environment\n"
        "`SAGABUS_PARTICIPANT_<NAME>_<SETTING>`, where the name has no dash. Hosts come from here only,\n"
        "never from a definition. What they do: docs/contract.md.\n\n"
        "| setting | default | meaning |\n|---|---|---|\n");
    reference_rows(out, sb_config_participant_table);
    sb_buf_add_text(
        out, "\n## Endpoints\n\n"
             "Of each endpoint of push subscriptions, as `push.<endpoint>.<setting>`; in the environment\n"
             "`SAGABUS_PUSH_<ENDPOINT>_<SETTING>` ([push](push.md)).\n\n"
             "| setting | default | meaning |\n|---|---|---|\n");
    reference_rows(out, sb_config_push_table);
}
