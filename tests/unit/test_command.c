/* The command line: what is understood, what is refused and with which words, and that help, completion and
 * the reference pages all come from the one table.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"
#include "server/openapi.h"
#include "tests/support/assert.h"
#include "tests/support/process.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct parsed {
    sb_cli_t cli;
    sb_error_t err;
    sb_code_t code;
    const char *noun;
    sb_config_t *config;
    char *words[16];
} parsed_t;

/* Parses the words of line (no quoting), as if typed after "sagabus". */
static void parse(parsed_t *p, const char *line)
{
    static char text[512];
    int count = 0;
    memset(p, 0, sizeof *p);
    (void)snprintf(text, sizeof text, "sagabus %s", line);
    for (char *word = strtok(text, " "); word && count < 15; word = strtok(NULL, " "))
        p->words[count++] = word;
    assert_ok(sb_config_new(&p->config, NULL), NULL);
    p->cli.config = p->config;
    p->code = sb_cli_parse(&p->cli, count, p->words, &p->noun, &p->err);
}

static void finish(parsed_t *p)
{
    sb_config_free(&p->config);
}

static void assert_refused(const char *line, const char *message)
{
    parsed_t p;
    parse(&p, line);
    assert_int_equal(p.code, SB_INVALID);
    assert_string_equal(p.err.message, message);
    finish(&p);
}

static void a_command_with_arguments_and_options(void **state)
{
    (void)state;
    parsed_t p;
    parse(&p, "saga start order --key o-1 -w -i {} --timeout=5s -o jsonl");
    assert_ok(p.code, &p.err);
    assert_string_equal(p.cli.command->verb, "start");
    assert_int_equal(p.cli.argument_count, 1);
    assert_string_equal(p.cli.argument[0], "order");
    assert_string_equal(sb_cli_option(&p.cli, "key"), "o-1");
    assert_string_equal(sb_cli_option(&p.cli, "input"), "{}");
    assert_string_equal(sb_cli_option(&p.cli, "wait"), "");
    assert_int_equal(p.cli.out.format, SB_OUTPUT_JSONL);
    int64_t ms = 0;
    assert_ok(sb_cli_option_ms(&p.cli, "timeout", 1, &ms, &p.err), &p.err);
    assert_int_equal(ms, 5000);
    finish(&p);
}

static void options_stand_anywhere_and_words_may_look_like_options_after_two_dashes(void **state)
{
    (void)state;
    parsed_t p;
    parse(&p, "-o json event --limit 3 read");
    assert_int_equal(p.code, SB_INVALID); /* between noun and verb stands the verb */
    finish(&p);
    parse(&p, "-o json event read --limit 3 order/o-1 --backward");
    assert_ok(p.code, &p.err);
    assert_string_equal(p.cli.argument[0], "order/o-1");
    assert_int_equal(p.cli.out.format, SB_OUTPUT_JSON);
    finish(&p);
    parse(&p, "event read -- --odd");
    assert_ok(p.code, &p.err);
    assert_string_equal(p.cli.argument[0], "--odd");
    finish(&p);
    parse(&p, "saga cancel x --reason --because");
    assert_ok(p.code, &p.err);
    assert_string_equal(sb_cli_option(&p.cli, "reason"), "--because");
    finish(&p);
}

static void every_setting_is_an_option(void **state)
{
    (void)state;
    parsed_t p;
    parse(
        &p,
        "serve --http-listen 127.0.0.1:1 --http-body-max-bytes=2k -X kafka.client.id=a --pg postgresql:///x");
    assert_ok(p.code, &p.err);
    assert_string_equal(sb_config_get(p.config, "http.listen"), "127.0.0.1:1");
    assert_string_equal(sb_config_get(p.config, "http.body_max_bytes"), "2k");
    assert_string_equal(sb_config_get(p.config, "kafka.client.id"), "a");
    assert_string_equal(sb_config_get(p.config, "pg.uri"), "postgresql:///x");
    finish(&p);
}

static void what_is_not_known_is_answered_with_the_nearest(void **state)
{
    (void)state;
    assert_refused("sga list", "there is no command sga; did you mean saga?");
    assert_refused("saga strat order", "there is no saga strat; did you mean saga start?");
    assert_refused("key wonderful", "there is no key wonderful; there are: create, list, revoke");
    assert_refused("nothingofthesort", "there is no command nothingofthesort; see sagabus --help");
    assert_refused("saga start order --inptu {}", "there is no option --inptu; did you mean --input?");
    assert_refused("serve --http-lisen x", "there is no option --http-lisen; did you mean --http-listen?");
    assert_refused("saga start order -z", "there is no option -z");
    assert_refused("serve -X htp.listen=x", "there is no setting htp.listen; did you mean http.listen?");
}

static void a_prefix_of_an_option_is_not_the_option(void **state)
{
    (void)state;
    assert_refused("saga start order --inp {}", "there is no option --inp; did you mean --input?");
    assert_refused("saga start order --inp={}", "there is no option --inp; did you mean --input?");
    assert_refused("saga start order --wai", "there is no option --wai; did you mean --wait?");
}

static void missing_and_needless_words(void **state)
{
    (void)state;
    assert_refused("saga start", "saga start needs TYPE");
    assert_refused("saga start a b", "saga start: \"b\" is one word too many; expected TYPE");
    assert_refused("serve now", "serve: \"now\" is one word too many; expected no argument");
    assert_refused("saga start order --key", "--key needs a value");
    assert_refused("saga start order --wait=yes", "--wait takes no value");
    assert_refused("version -o yaml", "--output yaml: expected table, json or jsonl");
    assert_refused("serve -X nonsense", "--set nonsense: expected NAME=VALUE");
}

static void a_commands_own_option_stands_for_the_common_one(void **state)
{
    (void)state;
    parsed_t p;
    parse(&p, "definition graph order --version 2");
    assert_ok(p.code, &p.err);
    assert_false(p.cli.version);
    assert_string_equal(sb_cli_option(&p.cli, "version"), "2");
    finish(&p);
}

static void put_saga(const char *dir, const char *name, const char *child)
{
    char path[64];
    (void)snprintf(path, sizeof path, "%s/%s.json", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(
        fprintf(file, "{\"saga\": \"%s\", \"version\": 1, \"steps\": [{\"name\": \"s\", \"saga\": \"%s\"}]}",
                name, child) > 0);
    assert_int_equal(fclose(file), 0);
}

static void graph(parsed_t *p, const char *dir, const char *name)
{
    char line[96];
    (void)snprintf(line, sizeof line, "definition graph %s/%s.json", dir, name);
    parse(p, line);
    assert_ok(p->code, &p->err);
    p->cli.out.to = fopen("/dev/null", "w");
    assert_non_null(p->cli.out.to);
    p->code = p->cli.command->run(&p->cli, &p->err);
    assert_int_equal(fclose(p->cli.out.to), 0);
    finish(p);
}

static void a_saga_that_contains_itself_is_not_drawn(void **state)
{
    (void)state;
    parsed_t p;
    char dir[] = "/tmp/sb-graph-XXXXXX";
    assert_non_null(mkdtemp(dir));
    put_saga(dir, "alone", "alone");
    graph(&p, dir, "alone");
    assert_int_equal(p.code, SB_INVALID);
    assert_contains(p.err.message, "/alone.json: a saga cannot be a step of itself: alone -> alone");
    assert_string_equal(p.err.pointer, "/steps/0/saga");
    put_saga(dir, "a", "b");
    put_saga(dir, "b", "c");
    graph(&p, dir, "a"); /* c may be registered */
    assert_ok(p.code, &p.err);
    put_saga(dir, "c", "a");
    graph(&p, dir, "a");
    assert_int_equal(p.code, SB_INVALID);
    assert_contains(p.err.message, "a saga cannot be a step of itself: a -> b -> c -> a");
    put_saga(dir, "c", "c");
    graph(&p, dir, "a");
    assert_contains(p.err.message, "a saga cannot be a step of itself: a -> b -> c -> c");
    sb_test_remove_tree(dir);
}

static void help_and_version_come_before_arguments(void **state)
{
    (void)state;
    parsed_t p;
    parse(&p, "saga start --help");
    assert_ok(p.code, &p.err);
    assert_true(p.cli.help);
    assert_non_null(p.cli.command);
    finish(&p);
    parse(&p, "saga --help");
    assert_ok(p.code, &p.err);
    assert_true(p.cli.help);
    assert_null(p.cli.command);
    assert_string_equal(p.noun, "saga");
    finish(&p);
    parse(&p, "--version");
    assert_ok(p.code, &p.err);
    assert_true(p.cli.version);
    finish(&p);
    parse(&p, "saga");
    assert_ok(p.code, &p.err);
    assert_null(p.cli.command);
    assert_false(p.cli.help);
    finish(&p);
}

static void numbers_and_times_have_bounds(void **state)
{
    (void)state;
    parsed_t p;
    int64_t value = 0;
    parse(&p, "saga list --limit 12x");
    assert_code(SB_INVALID, sb_cli_option_int(&p.cli, "limit", 1, 500, 50, &value, &p.err), NULL);
    assert_string_equal(p.err.message, "--limit 12x: expected a whole number, 1 to 500");
    finish(&p);
    parse(&p, "saga list");
    assert_ok(sb_cli_option_int(&p.cli, "limit", 1, 500, 50, &value, &p.err), &p.err);
    assert_int_equal(value, 50);
    finish(&p);
    static const struct {
        const char *text;
        int64_t ms;
    } times[] = {{"500ms", 500}, {"30", 30000}, {"2m", 120000}, {"1h", 3600000},  {"0", 0},
                 {"1d", -1},     {"-5s", -1},   {"", -1},       {"99999999h", -1}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "saga start order --timeout=%s", times[i].text);
        parse(&p, line);
        assert_ok(p.code, &p.err);
        value = -1;
        sb_code_t code = sb_cli_option_ms(&p.cli, "timeout", 60000, &value, &p.err);
        assert_int_equal(code, times[i].ms < 0 ? SB_INVALID : SB_OK);
        if (code == SB_OK)
            assert_int_equal(value, times[i].ms);
        finish(&p);
    }
}

static void content_is_text_or_a_file(void **state)
{
    (void)state;
    sb_buf_t out = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_cli_content("{\"a\":1}", &out, &err), &err);
    assert_string_equal(sb_buf_text(&out), "{\"a\":1}");
    sb_buf_reset(&out);
    char path[] = "/tmp/sagabus-test-XXXXXX";
    char at[64];
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    for (int i = 0; i < 100000; i++)
        (void)fputs("ab", file);
    (void)fclose(file);
    (void)snprintf(at, sizeof at, "@%s", path);
    assert_ok(sb_cli_content(at, &out, &err), &err);
    assert_int_equal(out.len, 200000);
    assert_int_equal(strlen(sb_buf_text(&out)), 200000);
    (void)remove(path);
    assert_code(SB_NOT_FOUND, sb_cli_content(at, &out, &err), NULL);
    sb_buf_fini(&out);
}

/* ---- the table itself ---- */

static void the_table_is_whole(void **state)
{
    (void)state;
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        sb_buf_t name = SB_BUF_INIT;
        sb_buf_t help = SB_BUF_INIT;
        sb_cli_command_name(c, &name);
        assert_non_null(c->run);
        assert_non_null(c->examples[0]);
        assert_true(c->arguments_max <= SB_CLI_ARGUMENTS_MAX);
        assert_true((c->arguments_max > 0) == (c->arguments[0] != '\0'));
        assert_true(c->summary[0] >= 'A' && c->summary[0] <= 'Z');
        assert_true(c->summary[strlen(c->summary) - 1] != '.');
        assert_true(sb_cli_help(c->noun, c->verb, &help));
        assert_contains(sb_buf_text(&help), c->summary);
        for (int i = 0; i < SB_CLI_OPTIONS_MAX && c->options[i].name; i++) {
            assert_contains(sb_buf_text(&help), c->options[i].name);
            for (int j = 0; j < i; j++) {
                assert_string_not_equal(c->options[i].name, c->options[j].name);
                assert_true(c->options[i].letter == 0 || c->options[i].letter != c->options[j].letter);
            }
        }
        for (const sb_cli_command_t *before = sb_cli_table; before < c; before++)
            assert_false(strcmp(before->noun, c->noun) == 0 &&
                         (!before->verb || !c->verb || strcmp(before->verb, c->verb) == 0));
        sb_buf_fini(&help);
        sb_buf_fini(&name);
    }
}

/* Every example of the table is a command line that is understood. */
static void every_example_parses(void **state)
{
    (void)state;
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        for (int i = 0; i < 4 && c->examples[i]; i++) {
            char command[512];
            const char *line = strstr(c->examples[i], "sagabus ");
            parsed_t p;
            assert_non_null(line);
            (void)snprintf(command, sizeof command, "%s", line + strlen("sagabus "));
            /* quoted words become one */
            bool quoted = false;
            for (char *ch = command; *ch; ch++) {
                quoted ^= *ch == '\'';
                if (*ch == ')')
                    *ch = '\0';
                if ((quoted && *ch == ' ') || *ch == '\'')
                    *ch = '_';
                if (*ch == '\0')
                    break;
            }
            parse(&p, command);
            if (p.code != SB_OK)
                print_error("%s: %s\n", c->examples[i], p.err.message);
            assert_int_equal(p.code, SB_OK);
            assert_ptr_equal(p.cli.command, c);
            finish(&p);
        }
    }
}

static void completion_knows_every_command(void **state)
{
    (void)state;
    sb_buf_t script = SB_BUF_INIT;
    sb_cli_completion_bash(&script);
    for (const sb_cli_command_t *c = sb_cli_table; c->noun; c++) {
        sb_buf_t name = SB_BUF_INIT;
        sb_buf_add_char(&name, '"');
        sb_cli_command_name(c, &name);
        sb_buf_add_text(&name, "\") words=");
        assert_contains(sb_buf_text(&script), sb_buf_text(&name));
        sb_buf_fini(&name);
    }
    sb_buf_fini(&script);
}

static void assert_page(const char *path, const sb_buf_t *want, const char *command)
{
    sb_buf_t have = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    char at[512];
    (void)snprintf(at, sizeof at, "@%s/%s", SB_TEST_DOCS, path);
    assert_ok(sb_cli_content(at, &have, &err), &err);
    if (strcmp(sb_buf_text(&have), sb_buf_text(want)) != 0)
        fail_msg("docs/%s is not what the table says: %s > docs/%s", path, command, path);
    sb_buf_fini(&have);
}

static void the_reference_pages_are_up_to_date(void **state)
{
    (void)state;
    sb_buf_t page = SB_BUF_INIT;
    sb_cli_reference(&page);
    assert_page("cli.md", &page, "sagabus reference cli");
    sb_buf_reset(&page);
    sb_cli_reference_settings(&page);
    assert_page("configuration.md", &page, "sagabus reference settings");
    sb_buf_fini(&page);
}

static void the_openapi_document_is_up_to_date(void **state)
{
    (void)state;
    sb_buf_t text = SB_BUF_INIT;
    sb_openapi_write(&text);
    json_t *document = json_loadb(text.ptr, text.len, 0, NULL);
    char *page = document ? json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    assert_non_null(page);
    sb_buf_reset(&text);
    sb_buf_add_text(&text, page ? page : "");
    sb_buf_add_text(&text, "\n");
    assert_page("openapi.json", &text, "sagabus openapi");
    free(page);
    json_decref(document);
    sb_buf_fini(&text);
}

static void codes_become_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(sb_exit_of(SB_OK), 0);
    assert_int_equal(sb_exit_of(SB_INVALID), 1);
    assert_int_equal(sb_exit_of(SB_UNAVAILABLE), 3);
    assert_int_equal(sb_exit_of(SB_DENIED), 4);
    assert_int_equal(sb_exit_of(SB_NOT_FOUND), 5);
    assert_int_equal(sb_exit_of(SB_CONFLICT), 6);
    assert_int_equal(sb_exit_of(SB_MISMATCH), 6);
    assert_int_equal(sb_exit_of(SB_TIMEOUT), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_with_arguments_and_options),
        cmocka_unit_test(options_stand_anywhere_and_words_may_look_like_options_after_two_dashes),
        cmocka_unit_test(every_setting_is_an_option),
        cmocka_unit_test(what_is_not_known_is_answered_with_the_nearest),
        cmocka_unit_test(a_prefix_of_an_option_is_not_the_option),
        cmocka_unit_test(missing_and_needless_words),
        cmocka_unit_test(a_commands_own_option_stands_for_the_common_one),
        cmocka_unit_test(a_saga_that_contains_itself_is_not_drawn),
        cmocka_unit_test(help_and_version_come_before_arguments),
        cmocka_unit_test(numbers_and_times_have_bounds),
        cmocka_unit_test(content_is_text_or_a_file),
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(every_example_parses),
        cmocka_unit_test(completion_knows_every_command),
        cmocka_unit_test(the_reference_pages_are_up_to_date),
        cmocka_unit_test(the_openapi_document_is_up_to_date),
        cmocka_unit_test(codes_become_exit_codes),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
