/* What a saga waits for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "cli/remote.h"

#include <stdio.h>
#include <string.h>

/* ---- explain ---- */

static const char *text_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    return text ? text : "";
}

static void add_title(sb_buf_t *out, const char *title)
{
    sb_buf_printf(out, "%-16s", title);
}

/* "… by ann (a reason), at …"; what is not told is left out. */
static void add_act(sb_buf_t *out, const char *what, const json_t *act, const char *when)
{
    if (!*text_of(act, when))
        return;
    sb_buf_add_text(out, what);
    if (*text_of(act, "by"))
        sb_buf_printf(out, "%sby %s", *what ? " " : "", text_of(act, "by"));
    if (*text_of(act, "reason"))
        sb_buf_printf(out, " (%s)", text_of(act, "reason"));
    sb_buf_printf(out, ", at %s", text_of(act, when));
}

/* A line of its own. */
static void add_why(sb_buf_t *out, const char *title, const json_t *act)
{
    if (!act)
        return;
    add_title(out, title);
    add_act(out, *text_of(act, "by") ? "" : "by itself", act, "at");
    sb_buf_add_char(out, '\n');
}

/* One line of waits_for. */
static void add_wait(sb_buf_t *out, const json_t *wait)
{
    const char *what = text_of(wait, "what");
    const char *until = text_of(wait, "until");
    if (strcmp(what, "resume") == 0) {
        sb_buf_add_text(out, "an operator to resume it");
        add_act(out, ": paused", wait, "since");
        return;
    }
    if (strcmp(what, "saga") == 0) {
        sb_buf_printf(out, "saga %s to end (%s), since %s", text_of(wait, "saga"), text_of(wait, "command"),
                      text_of(wait, "since"));
        return;
    }
    if (strcmp(what, "operator") == 0)
        sb_buf_printf(out, "an operator: %s was refused (retry or skip step %s)", text_of(wait, "command"),
                      text_of(wait, "step"));
    else if (strcmp(what, "next_try") == 0)
        sb_buf_printf(out, "the next try of %s", text_of(wait, "command"));
    else
        sb_buf_printf(out, "the answer to %s", text_of(wait, "command"));
    sb_buf_printf(out, ", try %lld", (long long)json_integer_value(json_object_get(wait, "attempt")));
    const json_t *most = json_object_get(wait, "attempts_max");
    if (most)
        sb_buf_printf(out, " of %lld", (long long)json_integer_value(most));
    sb_buf_printf(out, ", since %s", text_of(wait, "since"));
    if (*until)
        sb_buf_printf(out, ", %s %s", strcmp(what, "answer") == 0 ? "waited for until" : "due at", until);
    if (json_is_true(json_object_get(wait, "attention")))
        sb_buf_add_text(out, " [attention]");
}

static void add_waits(sb_buf_t *out, const json_t *waits)
{
    size_t i;
    const json_t *wait;
    if (json_array_size(waits) == 0) {
        add_title(out, "waits for");
        sb_buf_add_text(out, "nothing\n");
    }
    json_array_foreach(waits, i, wait)
    {
        add_title(out, i == 0 ? "waits for" : "");
        add_wait(out, wait);
        sb_buf_add_char(out, '\n');
    }
}

static const json_t *participant_of(const json_t *participants, const char *name)
{
    size_t i;
    const json_t *participant;
    json_array_foreach(json_object_get(participants, "items"), i, participant)
    {
        if (strcmp(text_of(participant, "name"), name) == 0)
            return participant;
    }
    return NULL;
}

/* What keeps a command from its participant, as the instance sees it that is asked. */
static void add_breaker(sb_buf_t *out, const json_t *participants, const char *name)
{
    const json_t *participant = participant_of(participants, name);
    const char *breaker = text_of(participant, "breaker");
    bool asked = strcmp(text_of(participant, "held_by"), "retry_after") == 0;
    bool broken = *breaker && strcmp(breaker, "closed") != 0 && !asked;
    long long retry_ms = json_integer_value(json_object_get(participant, "retry_in_ms"));
    long long waiting = json_integer_value(json_object_get(participant, "waiting"));
    bool held = broken || retry_ms > 0;
    if (!held && waiting <= 0)
        return;
    add_title(out, "");
    if (!held) {
        sb_buf_printf(out,
                      "%s has commands that wait for their turn, or to ask again: %lld, and %lld are out\n",
                      name, waiting, (long long)json_integer_value(json_object_get(participant, "out")));
        return;
    }
    if (broken)
        sb_buf_printf(out, "%s is held off: its circuit breaker is %s", name, breaker);
    else
        sb_buf_printf(out, "%s is held off: it asked to be left alone (Retry-After)", name);
    if (retry_ms > 0)
        sb_buf_printf(out, ", a try follows in %lld s", (retry_ms + 999) / 1000);
    if (*text_of(participant, "error"))
        sb_buf_printf(out, " (%s)", text_of(participant, "error"));
    sb_buf_add_char(out, '\n');
}

static void add_breakers(sb_buf_t *out, const json_t *waits, const json_t *participants)
{
    size_t i;
    const json_t *wait;
    json_array_foreach(waits, i, wait)
    {
        bool told = false;
        for (size_t before = 0; before < i; before++)
            told = told || strcmp(text_of(json_array_get(waits, before), "participant"),
                                  text_of(wait, "participant")) == 0;
        if (!told)
            add_breaker(out, participants, text_of(wait, "participant"));
    }
}

static void add_anomalies(sb_buf_t *out, const json_t *anomalies)
{
    size_t i;
    const json_t *anomaly;
    json_array_foreach(anomalies, i, anomaly)
    {
        const char *error = text_of(anomaly, "error");
        add_title(out, i == 0 ? "contradicted" : "");
        sb_buf_printf(out, "%s: %s%s%s%s, at %s\n", text_of(anomaly, "command"), text_of(anomaly, "reason"),
                      *error ? " (" : "", error, *error ? ")" : "", text_of(anomaly, "at"));
    }
}

static void add_commands(sb_buf_t *out, const json_t *forecast, const char *none)
{
    size_t i;
    const json_t *command;
    const json_t *commands = json_object_get(forecast, "commands");
    if (json_array_size(commands) == 0) {
        sb_buf_printf(out, "%s\n", none);
        return;
    }
    json_array_foreach(commands, i, command)
    {
        sb_buf_printf(out, "%s%s", i == 0 ? "" : ", ", text_of(command, "command"));
        if (json_is_true(json_object_get(command, "conditional")))
            sb_buf_add_text(out, " (if its condition holds)");
    }
    sb_buf_printf(out, ", then %s\n", text_of(forecast, "ends"));
}

static void add_acts(sb_buf_t *out, const json_t *acts)
{
    size_t i;
    const json_t *act;
    add_title(out, "you can");
    json_array_foreach(acts, i, act)
    {
        sb_buf_printf(out, "%s%s", i == 0 ? "" : ", ", json_string_value(act));
    }
    sb_buf_add_text(out, json_array_size(acts) ? "\n" : "do nothing: it is over\n");
}

static void write_explanation(sb_buf_t *out, const json_t *saga, const json_t *participants)
{
    const json_t *error = json_object_get(saga, "last_error");
    bool is_past = json_is_true(json_object_get(saga, "past_pivot"));
    sb_buf_printf(out, "%s %s is %s%s%s\n", text_of(saga, "type"), text_of(saga, "key"),
                  text_of(saga, "status"), json_is_true(json_object_get(saga, "paused")) ? ", paused" : "",
                  json_is_true(json_object_get(saga, "attention")) ? ", needs an operator" : "");
    if (*text_of(saga, "rewinding_to")) {
        add_title(out, "goes back to");
        sb_buf_printf(out, "%s\n", text_of(saga, "rewinding_to"));
    }
    add_why(out, "turned back", json_object_get(saga, "turned_back"));
    add_why(out, "closed", json_object_get(saga, "closed"));
    add_waits(out, json_object_get(saga, "waits_for"));
    add_breakers(out, json_object_get(saga, "waits_for"), participants);
    if (*text_of(saga, "turns_back_at")) {
        add_title(out, "deadline");
        sb_buf_printf(out, "it turns back at %s\n", text_of(saga, "turns_back_at"));
    }
    add_title(out, "last error");
    if (json_is_object(error))
        sb_buf_printf(out, "%s%s%s, at %s\n", text_of(error, "step"), *text_of(error, "step") ? ": " : "",
                      text_of(error, "error"), text_of(error, "at"));
    else
        sb_buf_add_text(out, "none\n");
    add_anomalies(out, json_object_get(saga, "anomalies"));
    add_title(out, "to come");
    add_commands(out, json_object_get(saga, "if_all_goes_well"), "nothing");
    add_title(out, "if it failed");
    add_commands(out, json_object_get(saga, "if_it_failed_now"),
                 is_past ? "nothing is undone: it is past its pivot" : "nothing is undone");
    add_acts(out, json_object_get(saga, "acts"));
}

sb_code_t sb_cmd_saga_explain(sb_cli_t *cli, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    json_t *saga = NULL;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = sb_remote_saga(remote, cli->argument[0], "/explain", &saga, err);
    if (code == SB_OK && cli->out.format == SB_OUTPUT_TABLE) {
        sb_buf_t text = SB_BUF_INIT;
        json_t *participants = NULL; /* without them, or the right to see them, the rest is as true */
        sb_code_t ignored = sb_remote_get(remote, "/v1/participants", &participants, NULL);
        (void)ignored;
        write_explanation(&text, saga, participants);
        json_decref(participants);
        sb_output_text(&cli->out, sb_buf_slice(&text));
        sb_buf_fini(&text);
    } else if (code == SB_OK) {
        sb_output_json(&cli->out, saga);
    }
    json_decref(saga);
    sb_remote_close(&remote);
    return code;
}
