/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "base/near.h"
#include "sagabus/event.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What every command takes, beside one option for each setting. */
typedef enum common {
    COMMON_HELP,
    COMMON_VERSION,
    COMMON_OUTPUT,
    COMMON_COLOR,
    COMMON_QUIET,
    COMMON_CONFIG,
    COMMON_SET,
    COMMON_SERVER,
    COMMON_PG,
    COMMON_KAFKA,
    COMMON_COUNT
} common_t;

const sb_cli_option_t sb_cli_common_options[COMMON_COUNT + 1] = {
    [COMMON_HELP] = {"help", 'h', NULL, "show help"},
    [COMMON_VERSION] = {"version", 0, NULL, "show the version"},
    [COMMON_OUTPUT] = {"output", 'o', "FORMAT", "table (default), json or jsonl"},
    [COMMON_COLOR] = {"color", 0, "WHEN",
                      "auto (default: on a terminal, unless NO_COLOR is set), always, never"},
    [COMMON_QUIET] = {"quiet", 'q', NULL, "no messages but errors"},
    [COMMON_CONFIG] = {"config", 'c', "FILE", "settings; default: sagabus.properties when it is there"},
    [COMMON_SET] = {"set", 'X', "NAME=VALUE", "any setting, also kafka.* ones for librdkafka"},
    [COMMON_SERVER] = {"server", 's', "URL", "same as --server-url"},
    [COMMON_PG] = {"pg", 0, "URI", "same as --pg-uri"},
    [COMMON_KAFKA] = {"kafka", 0, "HOST:PORT", "same as --kafka-bootstrap"},
    [COMMON_COUNT] = {NULL, 0, NULL, NULL},
};

sb_exit_t sb_exit_of(sb_code_t code)
{
    switch (code) {
    case SB_OK:
        return SB_EXIT_OK;
    case SB_UNAVAILABLE:
    case SB_UNKNOWN_OUTCOME:
        return SB_EXIT_UNREACHABLE;
    case SB_DENIED:
        return SB_EXIT_DENIED;
    case SB_NOT_FOUND:
    case SB_GONE:
        return SB_EXIT_NOT_FOUND;
    case SB_CONFLICT:
    case SB_MISMATCH:
        return SB_EXIT_CONFLICT;
    case SB_TIMEOUT:
        return SB_EXIT_TIMEOUT;
    default:
        return SB_EXIT_ERROR;
    }
}

/* ---- options as getopt_long wants them ---- */

/* The value that getopt_long returns for an option: its group and its place in the group. */
enum { GROUP_COMMON = 0x1000, GROUP_COMMAND = 0x2000, GROUP_SETTING = 0x4000, GROUP_MASK = 0x7000 };

#define LONG_MAX_COUNT 128
#define NAMES_BYTES    4096

typedef struct option_set {
    struct option list[LONG_MAX_COUNT];
    int count;
    char letters[64];
    char names[NAMES_BYTES]; /* of the settings' options: http.listen as http-listen */
    size_t names_used;
} option_set_t;

static void add_option(option_set_t *set, const sb_cli_option_t *option, int value)
{
    assert(set->count < LONG_MAX_COUNT - 1);
    set->list[set->count++] =
        (struct option){option->name, option->value ? required_argument : no_argument, NULL, value};
    if (option->letter) {
        size_t n = strlen(set->letters);
        assert(n + 3 < sizeof set->letters);
        set->letters[n++] = option->letter;
        if (option->value)
            set->letters[n++] = ':';
        set->letters[n] = '\0';
    }
}

/* "http.body_max_bytes" as "http-body-max-bytes", kept in the set. */
static const char *setting_option(option_set_t *set, const char *name)
{
    size_t n = strlen(name) + 1;
    assert(set->names_used + n <= sizeof set->names);
    char *text = set->names + set->names_used;
    set->names_used += n;
    for (size_t i = 0; i < n; i++)
        text[i] = name[i] == '.' || name[i] == '_' ? '-' : name[i];
    return text;
}

/* A command may have a common option's name for its own. */
static bool has_own(const sb_cli_command_t *command, const char *name)
{
    for (int i = 0; command && i < SB_CLI_OPTIONS_MAX && command->options[i].name; i++)
        if (strcmp(command->options[i].name, name) == 0)
            return true;
    return false;
}

/* "+": stop at the first word that is no option, ":": a missing value is told from an unknown option. */
static void build_set(option_set_t *set, const sb_cli_command_t *command)
{
    memset(set, 0, sizeof *set);
    (void)snprintf(set->letters, sizeof set->letters, "%s", command ? ":" : "+:");
    for (int i = 0; i < COMMON_COUNT; i++)
        if (!has_own(command, sb_cli_common_options[i].name))
            add_option(set, &sb_cli_common_options[i], GROUP_COMMON | i);
    for (int i = 0; command && i < SB_CLI_OPTIONS_MAX && command->options[i].name; i++)
        add_option(set, &command->options[i], GROUP_COMMAND | i);
    for (int i = 0; sb_config_table[i].name; i++) {
        sb_cli_option_t option = {setting_option(set, sb_config_table[i].name), 0, "VALUE", NULL};
        add_option(set, &option, GROUP_SETTING | i);
    }
}

/* What a letter stands for; 0: nothing. */
static int value_of_letter(const sb_cli_command_t *command, int letter)
{
    for (int i = 0; i < COMMON_COUNT; i++)
        if (sb_cli_common_options[i].letter == letter)
            return GROUP_COMMON | i;
    for (int i = 0; command && i < SB_CLI_OPTIONS_MAX && command->options[i].name; i++)
        if (command->options[i].letter == letter)
            return GROUP_COMMAND | i;
    return 0;
}

static sb_code_t unknown_option(const option_set_t *set, const char *word, sb_error_t *err)
{
    char name[64];
    sb_near_t meant = {NULL, 4};
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    for (int i = 0; i < set->count; i++)
        sb_near_offer(&meant, name, set->list[i].name);
    if (meant.word)
        return sb_fail(err, SB_INVALID, "there is no option --%s; did you mean --%s?", name, meant.word);
    return sb_fail(err, SB_INVALID, "there is no option --%s", name);
}

static sb_code_t assign_setting(sb_cli_t *cli, const char *text, sb_error_t *err)
{
    char name[128];
    const char *equals = strchr(text, '=');
    if (!equals || (size_t)(equals - text) >= sizeof name)
        return sb_fail(err, SB_INVALID, "--set %s: expected NAME=VALUE", text);
    (void)snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    return sb_config_set(cli->config, name, equals + 1, err);
}

static sb_code_t take_common(sb_cli_t *cli, common_t which, const char *value, sb_error_t *err)
{
    switch (which) {
    case COMMON_HELP:
        cli->help = true;
        return SB_OK;
    case COMMON_VERSION:
        cli->version = true;
        return SB_OK;
    case COMMON_OUTPUT:
        return sb_output_set_format(&cli->out, value, err);
    case COMMON_COLOR:
        return sb_output_set_color(&cli->out, value, err);
    case COMMON_QUIET:
        cli->quiet = true;
        return SB_OK;
    case COMMON_CONFIG:
        cli->config_file = value;
        return SB_OK;
    case COMMON_SET:
        return assign_setting(cli, value, err);
    case COMMON_SERVER:
        return sb_config_set(cli->config, "server.url", value, err);
    case COMMON_PG:
        return sb_config_set(cli->config, "pg.uri", value, err);
    case COMMON_KAFKA:
        return sb_config_set(cli->config, "kafka.bootstrap", value, err);
    case COMMON_COUNT:
        break;
    }
    return sb_fail(err, SB_INTERNAL, "option %d", (int)which);
}

static sb_code_t take(sb_cli_t *cli, int value, const char *argument, sb_error_t *err)
{
    int place = value & ~GROUP_MASK;
    switch (value & GROUP_MASK) {
    case GROUP_COMMON:
        return take_common(cli, (common_t)place, argument, err);
    case GROUP_COMMAND:
        cli->option[place] = argument ? argument : "";
        return SB_OK;
    default:
        return sb_config_set(cli->config, sb_config_table[place].name, argument, err);
    }
}

/* getopt_long accepts any prefix of a long option that is not ambiguous; scripts that lean on that break with
 * the next option, so it is refused. */
static bool is_whole(const struct option *option, char **argv)
{
    const char *word = argv[optind - 1];
    if (option->has_arg == required_argument && optarg == word)
        word = argv[optind - 2];
    size_t n = strlen(option->name);
    return strncmp(word, "--", 2) == 0 && strncmp(word + 2, option->name, n) == 0 &&
           (word[n + 2] == '\0' || word[n + 2] == '=');
}

static const char *long_word(char **argv)
{
    const char *word = argv[optind - 1];
    return strncmp(word, "--", 2) != 0 && optind > 1 ? argv[optind - 2] : word;
}

/* Reads options from optind on. */
static sb_code_t read_options(sb_cli_t *cli, int argc, char **argv, const sb_cli_command_t *command,
                              sb_error_t *err)
{
    option_set_t set;
    build_set(&set, command);
    for (;;) {
        int place = -1;
        int got = getopt_long(argc, argv, set.letters, set.list, &place);
        if (got == -1)
            return SB_OK;
        if (got == '?' && optopt > 0 && optopt < GROUP_COMMON)
            return sb_fail(err, SB_INVALID, "there is no option -%c", optopt);
        if (got == '?' && optopt >= GROUP_COMMON)
            return sb_fail(err, SB_INVALID, "%.*s takes no value", (int)strcspn(argv[optind - 1], "="),
                           argv[optind - 1]);
        if (got == '?')
            return unknown_option(&set, argv[optind - 1], err);
        if (got == ':')
            return sb_fail(err, SB_INVALID, "%s needs a value", argv[optind - 1]);
        if (place >= 0 && !is_whole(&set.list[place], argv))
            return unknown_option(&set, long_word(argv), err);
        int value = got < GROUP_COMMON ? value_of_letter(command, got) : got;
        sb_code_t code = take(cli, value, optarg, err);
        if (code != SB_OK)
            return code;
    }
}

/* ---- words ---- */

const sb_cli_command_t *sb_cli_find(const char *noun, const char *verb)
{
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        if (strcmp(c->noun, noun) != 0)
            continue;
        if (!c->verb || (verb && strcmp(c->verb, verb) == 0))
            return c;
    }
    return NULL;
}

bool sb_cli_is_noun(const char *word)
{
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++)
        if (strcmp(c->noun, word) == 0)
            return true;
    return false;
}

static sb_code_t unknown_noun(const char *word, sb_error_t *err)
{
    sb_near_t meant = {NULL, 4};
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++)
        sb_near_offer(&meant, word, c->noun);
    if (meant.word)
        return sb_fail(err, SB_INVALID, "there is no command %s; did you mean %s?", word, meant.word);
    return sb_fail(err, SB_INVALID, "there is no command %s; see sagabus --help", word);
}

static sb_code_t unknown_verb(const char *noun, const char *word, sb_error_t *err)
{
    sb_near_t meant = {NULL, 4};
    sb_buf_t verbs = SB_BUF_INIT;
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        if (strcmp(c->noun, noun) != 0)
            continue;
        sb_near_offer(&meant, word, c->verb);
        sb_buf_printf(&verbs, "%s%s", verbs.len ? ", " : "", c->verb);
    }
    sb_code_t code =
        meant.word
            ? sb_fail(err, SB_INVALID, "there is no %s %s; did you mean %s %s?", noun, word, noun, meant.word)
            : sb_fail(err, SB_INVALID, "there is no %s %s; there are: %s", noun, word, sb_buf_text(&verbs));
    sb_buf_fini(&verbs);
    return code;
}

/* The command that the words at *at say; moves *at past them. */
static sb_code_t find_command(sb_cli_t *cli, int argc, char **argv, int *at, const char **noun,
                              sb_error_t *err)
{
    *noun = argv[*at];
    if (!sb_cli_is_noun(*noun))
        return unknown_noun(*noun, err);
    cli->command = sb_cli_find(*noun, NULL);
    (*at)++;
    if (cli->command)
        return SB_OK;
    if (*at >= argc || strcmp(argv[*at], "--help") == 0 || strcmp(argv[*at], "-h") == 0) {
        cli->help = *at < argc;
        return SB_OK;
    }
    cli->command = sb_cli_find(*noun, argv[*at]);
    if (!cli->command)
        return unknown_verb(*noun, argv[*at], err);
    (*at)++;
    return SB_OK;
}

static sb_code_t take_arguments(sb_cli_t *cli, int argc, char **argv, sb_error_t *err)
{
    const sb_cli_command_t *command = cli->command;
    const char *gap = command->verb ? " " : "";
    const char *verb = command->verb ? command->verb : "";
    int count = argc - optind;
    if (count < command->arguments_min)
        return sb_fail(err, SB_INVALID, "%s%s%s needs %s", command->noun, gap, verb, command->arguments);
    if (count > command->arguments_max)
        return sb_fail(err, SB_INVALID, "%s%s%s: \"%s\" is one word too many; expected %s", command->noun,
                       gap, verb, argv[optind + command->arguments_max],
                       command->arguments[0] ? command->arguments : "no argument");
    assert(count <= SB_CLI_ARGUMENTS_MAX);
    for (int i = 0; i < count; i++)
        cli->argument[i] = argv[optind + i];
    cli->argument_count = count;
    return SB_OK;
}

sb_code_t sb_cli_parse(sb_cli_t *cli, int argc, char **argv, const char **noun, sb_error_t *err)
{
    sb_config_t *config = cli->config;
    memset(cli, 0, sizeof *cli);
    cli->config = config;
    sb_output_init(&cli->out, stdout);
    *noun = NULL;
    opterr = 0;
    optind = 0;
    sb_code_t code = read_options(cli, argc, argv, NULL, err);
    int at = optind;
    if (code == SB_OK && at < argc && !cli->version)
        code = find_command(cli, argc, argv, &at, noun, err);
    if (code != SB_OK || !cli->command)
        return code;
    /* getopt takes argv[0] for the program's name: here it is the last word of the command. */
    optind = 0;
    code = read_options(cli, argc - at + 1, argv + at - 1, cli->command, err);
    if (code == SB_OK && !cli->help && !cli->version)
        code = take_arguments(cli, argc - at + 1, argv + at - 1, err);
    return code;
}

/* ---- values ---- */

const char *sb_cli_option(const sb_cli_t *cli, const char *name)
{
    for (int i = 0; i < SB_CLI_OPTIONS_MAX && cli->command->options[i].name; i++)
        if (strcmp(cli->command->options[i].name, name) == 0)
            return cli->option[i];
    assert(!"an option that the command's row does not have");
    return NULL;
}

sb_code_t sb_cli_option_int(const sb_cli_t *cli, const char *name, int64_t low, int64_t high, int64_t absent,
                            int64_t *out, sb_error_t *err)
{
    const char *text = sb_cli_option(cli, name);
    *out = absent;
    if (!text)
        return SB_OK;
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno == ERANGE || number < low || number > high)
        return sb_fail(err, SB_INVALID, "--%s %s: expected a whole number, %lld to %lld", name, text,
                       (long long)low, (long long)high);
    *out = number;
    return SB_OK;
}

sb_code_t sb_cli_option_ms(const sb_cli_t *cli, const char *name, int64_t absent, int64_t *out,
                           sb_error_t *err)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *text = sb_cli_option(cli, name);
    *out = absent;
    if (!text)
        return SB_OK;
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    for (size_t i = 0; end != text && errno == 0 && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0 && number >= 0 && number <= INT32_MAX / units[i].ms) {
            *out = number * units[i].ms;
            return SB_OK;
        }
    }
    return sb_fail(err, SB_INVALID, "--%s %s: expected a time such as 500ms, 30s or 5m", name, text);
}

sb_code_t sb_cli_file_failed(const char *path, int why, sb_error_t *err)
{
    bool absent = why == ENOENT || why == ENOTDIR;
    return sb_fail(err, absent ? SB_NOT_FOUND : SB_INVALID, "%s: %s", path, strerror(why));
}

sb_code_t sb_cli_check_trace(const sb_cli_t *cli, sb_error_t *err)
{
    const char *text = sb_cli_option(cli, "traceparent");
    if (!text || sb_traceparent_ok(sb_slice(text)))
        return SB_OK;
    return sb_fail(err, SB_INVALID,
                   "--traceparent %s: expected W3C trace context in lower case, as "
                   "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                   text);
}

sb_code_t sb_cli_content(const char *value, sb_buf_t *out, sb_error_t *err)
{
    if (value[0] != '@') {
        sb_buf_add_text(out, value);
        return sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "out of memory") : SB_OK;
    }
    const char *path = value + 1;
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sb_cli_file_failed(path, errno, err);
    ssize_t got = 1;
    while (got > 0 && !sb_buf_failed(out)) {
        char *at = sb_buf_reserve(out, 65536);
        got = at ? read(fd, at, 65535) : -1;
        if (got > 0)
            out->len += (size_t)got;
        if (at)
            out->ptr[out->len] = '\0';
    }
    int why = errno;
    if (!standard)
        (void)close(fd);
    if (sb_buf_failed(out))
        return sb_fail(err, SB_NO_MEMORY, "%s: out of memory", path);
    if (got < 0)
        return sb_cli_file_failed(path, why, err);
    return SB_OK;
}
