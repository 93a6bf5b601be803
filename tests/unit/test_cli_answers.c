/* What the command line makes of a server's answers, which are played here: the lines of explain, the columns
 * of lists, and what a command ends with.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"

#include <stdio.h>
#include <stdlib.h>

#define SAGA "0193aaaa-0000-8000-8000-000000000001"

/* What is answered where a path begins so; ended by NULL. */
typedef struct page {
    const char *path;
    const char *body;
} page_t;

typedef struct asked {
    sb_code_t code;
    sb_error_t err;
    char *text; /* what was printed */
} asked_t;

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    const page_t *page = context;
    while (page->path && strncmp(request->path, page->path, strlen(page->path)) != 0)
        page++;
    answer->status = page->path ? 200 : 404;
    (void)snprintf(answer->headers, sizeof answer->headers, "Content-Type: application/json\r\n");
    sb_buf_add_text(&answer->body, page->path ? page->body : "{}");
}

static asked_t ask(const page_t *pages, int argc, const char *const *argv)
{
    asked_t asked = {.err = SB_ERROR_INIT};
    sb_cli_t cli = {.config = NULL};
    sb_config_t *config = NULL;
    const char *noun = NULL;
    char *words[16] = {NULL};
    char url[64];
    size_t size = 0;
    sb_peer_t *peer = sb_peer_start(0, play, (void *)(uintptr_t)pages);
    assert_ok(sb_config_new(&config, &asked.err), &asked.err);
    cli.config = config;
    for (int i = 0; i < argc; i++)
        words[i] = (char *)(uintptr_t)argv[i];
    assert_ok(sb_cli_parse(&cli, argc, words, &noun, &asked.err), &asked.err);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", sb_peer_port(peer));
    assert_ok(sb_config_set(config, "server.url", url, &asked.err), &asked.err);
    cli.quiet = true;
    cli.out.to = open_memstream(&asked.text, &size);
    assert_non_null(cli.out.to);
    cli.out.width = 200;
    asked.code = cli.command->run(&cli, &asked.err);
    assert_int_equal(fclose(cli.out.to), 0);
    sb_config_free(&config);
    sb_peer_stop(&peer);
    return asked;
}

#define ASK(pages, ...)                                                                                      \
    ask(pages, (int)(sizeof(const char *[]){"sagabus", __VA_ARGS__} / sizeof(char *)),                       \
        (const char *[]){"sagabus", __VA_ARGS__})

/* ---- explain ---- */

#define WAITS                                                                                                \
    "{\"type\":\"order\",\"key\":\"o-1\",\"status\":\"started\",\"waits_for\":[{\"what\":\"answer\","        \
    "\"step\":\"pay\",\"participant\":\"bank\",\"command\":\"bank.charge\",\"attempt\":1,"                   \
    "\"since\":\"2026-11-20T10:00:00Z\"}],\"acts\":[\"cancel\"]}"

static void assert_held(const char *participant, const char *line)
{
    char participants[512];
    (void)snprintf(participants, sizeof participants,
                   "{\"items\":[{\"name\":\"other\",\"breaker\":\"open\",\"held_by\":\"breaker\","
                   "\"retry_in_ms\":1000},{\"name\":\"bank\",%s}]}",
                   participant);
    const page_t pages[] = {{"/v1/participants", participants}, {"/v1/sagas/" SAGA "/explain", WAITS}, {0}};
    asked_t asked = ASK(pages, "saga", "explain", SAGA);
    assert_ok(asked.code, &asked.err);
    assert_contains(asked.text,
                    "waits for       the answer to bank.charge, try 1, since 2026-11-20T10:00:00Z\n");
    assert_null(strstr(asked.text, "other")); /* nobody waits for that one */
    if (line)
        assert_contains(asked.text, line);
    else
        assert_null(strstr(asked.text, "                bank "));
    free(asked.text);
}

static void explain_says_what_keeps_a_command_from_its_participant(void **state)
{
    (void)state;
    assert_held(
        "\"breaker\":\"closed\",\"held_by\":\"retry_after\",\"retry_in_ms\":6001,\"waiting\":3",
        "                bank is held off: it asked to be left alone (Retry-After), a try follows in 7 s\n");
    assert_held(
        "\"breaker\":\"half-open\",\"held_by\":\"retry_after\",\"retry_in_ms\":500,\"error\":\"HTTP 503\"",
        "bank is held off: it asked to be left alone (Retry-After), a try follows in 1 s (HTTP 503)\n");
    assert_held("\"breaker\":\"open\",\"held_by\":\"breaker\",\"retry_in_ms\":2000,\"error\":\"refused\"",
                "bank is held off: its circuit breaker is open, a try follows in 2 s (refused)\n");
    assert_held("\"breaker\":\"half-open\",\"held_by\":null,\"retry_in_ms\":0,\"waiting\":3",
                "bank is held off: its circuit breaker is half-open\n");
    assert_held("\"breaker\":\"closed\",\"held_by\":null,\"retry_in_ms\":0,\"waiting\":3,\"out\":2",
                "bank has commands that wait for their turn, or to ask again: 3, and 2 are out\n");
    assert_held("\"breaker\":\"closed\",\"held_by\":null,\"retry_in_ms\":0,\"waiting\":0", NULL);
}

/* ---- what a verb ends with ---- */

static void assert_outcome(const char *outcome, sb_exit_t ends, const char *message)
{
    char audit[256];
    (void)snprintf(audit, sizeof audit, "{\"items\":[{\"outcome\":\"%s\"}]}", outcome);
    const page_t pages[] = {
        {"/v1/sagas/" SAGA "/skip", "{\"command\":5}"}, {"/v1/audit?command=5", audit}, {0}};
    asked_t asked = ASK(pages, "saga", "skip", SAGA, "--step", "pya", "--reason", "r");
    assert_int_equal(sb_exit_of(asked.code), ends);
    assert_string_equal(asked.err.message, message);
    free(asked.text);
}

static void a_verb_ends_with_what_came_of_it(void **state)
{
    (void)state;
    static const char no_step[] = "the saga has no step of that name; it has: reserve, pay";
    char outcome[128];
    (void)snprintf(outcome, sizeof outcome, "invalid: %s", no_step);
    assert_outcome("ok", SB_EXIT_OK, "");
    assert_outcome(outcome, SB_EXIT_ERROR, no_step);
    assert_outcome("not_found: there is no such saga", SB_EXIT_NOT_FOUND, "there is no such saga");
    assert_outcome("conflict: step pay is done", SB_EXIT_CONFLICT, "step pay is done");
}

/* ---- the record ---- */

static void the_record_shows_what_an_act_was_given(void **state)
{
    (void)state;
    const page_t pages[] = {
        {"/v1/audit",
         "{\"items\":[{\"at\":\"2026-11-20T10:00:02Z\",\"who\":\"ann\",\"act\":\"saga.skip\",\"target\":\"s-"
         "1\","
         "\"detail\":{\"step\":\"pay\",\"result\":{\"id\":7}},\"reason\":\"paid by "
         "hand\",\"outcome\":\"ok\"},"
         "{\"at\":\"2026-11-20T10:00:01Z\",\"who\":\"bob\",\"act\":\"saga.pause\",\"target\":\"s-1\","
         "\"detail\":{},\"reason\":\"a look\",\"outcome\":\"ok\"}],\"next_cursor\":null}"},
        {0}};
    asked_t asked = ASK(pages, "audit", "list");
    assert_ok(asked.code, &asked.err);
    assert_contains(asked.text, "TARGET  DETAIL");
    assert_contains(asked.text, "s-1     {\"result\":{\"id\":7},\"step\":\"pay\"}  paid by hand  ok");
    assert_null(strstr(asked.text, "{}"));
    free(asked.text);
    asked = ASK(pages, "audit", "list", "-o", "jsonl"); /* a program finds the member in each */
    assert_contains(asked.text, "\"detail\":{}");
    free(asked.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(explain_says_what_keeps_a_command_from_its_participant),
        cmocka_unit_test(a_verb_ends_with_what_came_of_it),
        cmocka_unit_test(the_record_shows_what_an_act_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
