/* What operators do with sagas, one or many, and the record of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define OUTCOME_WAIT_US 5000000 /* the owner is told at once; when it is away, the record tells later */
#define ACT_PAGE_MAX    1000    /* as many as the server takes at once */
#define TRY_PAGE_MAX    200     /* each is folded from its events */

const sb_saga_filter_option_t sb_saga_filter_options[] = {{"type", "type", false},
                                                          {"step", "step", false},
                                                          {"participant", "participant", false},
                                                          {"error", "error", false},
                                                          {"fingerprint", "fingerprint", false},
                                                          {"since", "started_after", false},
                                                          {"until", "started_before", false},
                                                          {"status", "status", false},
                                                          {"attention", "attention", true},
                                                          {"paused", "paused", true},
                                                          {NULL, NULL, false}};

static bool has_option(const sb_cli_t *cli, const char *name)
{
    for (int i = 0; i < SB_CLI_OPTIONS_MAX && cli->command->options[i].name; i++)
        if (strcmp(cli->command->options[i].name, name) == 0)
            return true;
    return false;
}

/* NULL too when the command has no such option. */
static const char *option(const sb_cli_t *cli, const char *name)
{
    return has_option(cli, name) ? sb_cli_option(cli, name) : NULL;
}

/* ---- the request ---- */

static void add_text(sb_buf_t *body, const char *member, const char *value)
{
    if (!value)
        return;
    sb_buf_printf(body, ",\"%s\":", member);
    sb_buf_add_json(body, sb_slice(value));
}

static sb_code_t add_json(sb_buf_t *body, const char *member, const char *value, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    if (!value)
        return SB_OK;
    sb_code_t code = sb_cli_content(value, &text, err);
    if (code == SB_OK)
        code = sb_json_parse(&tree, sb_buf_slice(&text), member, err);
    if (code == SB_OK) {
        sb_buf_printf(body, ",\"%s\":", member);
        sb_buf_add_slice(body, sb_buf_slice(&text));
    }
    json_decref(tree);
    sb_buf_fini(&text);
    return code;
}

/* The step of the verb itself: --to of a rewind, --step of a retry and a skip. */
static const char *own_step(const sb_cli_t *cli)
{
    const char *verb = cli->command->verb;
    if (strcmp(verb, "rewind") == 0)
        return option(cli, "to");
    return strcmp(verb, "retry") == 0 || strcmp(verb, "skip") == 0 ? option(cli, "step") : NULL;
}

static sb_code_t check_needs(const sb_cli_t *cli, sb_error_t *err)
{
    const char *verb = cli->command->verb;
    const char *reason = sb_cli_option(cli, "reason");
    if (!reason || !reason[0])
        return sb_fail(err, SB_INVALID, "saga %s needs --reason TEXT; it is kept in the record", verb);
    if (strcmp(verb, "skip") == 0 && !own_step(cli))
        return sb_fail(err, SB_INVALID, "saga skip needs --step NAME");
    if (strcmp(verb, "rewind") == 0 && !own_step(cli))
        return sb_fail(err, SB_INVALID, "saga rewind needs --to STEP");
    return SB_OK;
}

static sb_code_t add_members(const sb_cli_t *cli, sb_buf_t *body, sb_error_t *err)
{
    int64_t version = 0;
    sb_code_t code = check_needs(cli, err);
    if (code != SB_OK)
        return code;
    bool migrate = strcmp(cli->command->verb, "migrate") == 0;
    if (migrate)
        code = sb_cli_option_int(cli, "to", 1, 1000000, 0, &version, err);
    if (code == SB_OK && migrate && version == 0)
        code = sb_fail(err, SB_INVALID, "saga migrate needs --to VERSION");
    sb_buf_add_text(body, "\"reason\":");
    sb_buf_add_json(body, sb_slice(sb_cli_option(cli, "reason")));
    add_text(body, "step", own_step(cli));
    if (option(cli, "pause"))
        sb_buf_add_text(body, ",\"pause\":true");
    if (sb_cli_option(cli, "dry-run"))
        sb_buf_add_text(body, ",\"dry_run\":true");
    if (version)
        sb_buf_printf(body, ",\"version\":%" PRId64, version);
    if (code == SB_OK)
        code = add_json(body, "result", option(cli, "result"), err);
    return code == SB_OK ? add_json(body, "input", option(cli, "input"), err) : code;
}

/* ---- one ---- */

static sb_code_t end_of(const char *outcome, sb_error_t *err)
{
    if (strcmp(outcome, "ok") == 0)
        return SB_OK;
    const char *text = strstr(outcome, ": ");
    sb_code_t code = strncmp(outcome, "not_found", 9) == 0 ? SB_NOT_FOUND
                     : strncmp(outcome, "invalid", 7) == 0 ? SB_INVALID
                                                           : SB_CONFLICT;
    return sb_fail(err, code, "%s", text ? text + 2 : outcome);
}

/* What came of it, as the record says. */
static sb_code_t await_outcome(sb_cli_t *cli, sb_remote_t *remote, int64_t command, sb_error_t *err)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/v1/audit?command=%" PRId64, command);
    for (int64_t until_us = sb_mono_us() + OUTCOME_WAIT_US; sb_mono_us() < until_us; sb_sleep_ms(50)) {
        json_t *page = NULL;
        sb_code_t code = sb_remote_get(remote, path, &page, err);
        const char *outcome = json_string_value(sb_json_at(page, SB_SLICE("/items/0/outcome")));
        if (code == SB_OK && outcome) {
            code = end_of(outcome, err);
            if (code == SB_OK)
                sb_cli_note(cli, "%s: done", cli->command->verb);
            json_decref(page);
            return code;
        }
        json_decref(page);
        if (code != SB_OK)
            return code;
    }
    sb_cli_note(cli, "%s is on its way; sagabus audit list says when it is done", cli->command->verb);
    return SB_OK;
}

/* Who names one and says which ones meant something else than what would be done. */
static sb_code_t check_one(const sb_cli_t *cli, sb_error_t *err)
{
    static const char *const of_many[] = {"limit", "cursor"};
    const char *verb = cli->command->verb;
    bool has_step = strcmp(verb, "retry") == 0 || strcmp(verb, "skip") == 0;
    const char *given = option(cli, of_many[0]) ? of_many[0] : option(cli, of_many[1]) ? of_many[1] : NULL;
    for (const sb_saga_filter_option_t *filter = sb_saga_filter_options; filter->option; filter++)
        if (option(cli, filter->option) && !(has_step && strcmp(filter->option, "step") == 0))
            given = filter->option;
    return given ? sb_fail(err, SB_INVALID,
                           "saga %s takes a SAGA, or options that say which ones, not both: leave out --%s",
                           verb, given)
                 : SB_OK;
}

static sb_code_t act_on_one(sb_cli_t *cli, sb_remote_t *remote, sb_buf_t *body, sb_error_t *err)
{
    sb_buf_t id = SB_BUF_INIT;
    json_t *answer = NULL;
    char path[128];
    sb_code_t code = check_one(cli, err);
    if (code == SB_OK)
        code = sb_remote_saga_id(remote, cli->argument[0], &id, err);
    sb_buf_add_char(body, '}');
    if (code == SB_OK) {
        (void)snprintf(path, sizeof path, "/v1/sagas/%s/%s", sb_buf_text(&id), cli->command->verb);
        sb_remote_call_t call = {.method = "POST", .path = path, .body = sb_buf_slice(body)};
        code = sb_remote_send(remote, &call, NULL, &answer, err);
    }
    if (code == SB_OK && answer && cli->out.format != SB_OUTPUT_TABLE)
        sb_output_json(&cli->out, answer);
    const char *refusal = json_string_value(json_object_get(answer, "refusal"));
    int64_t command = json_integer_value(json_object_get(answer, "command"));
    if (code == SB_OK && refusal)
        code = sb_fail(err, SB_CONFLICT, "it would be refused: %s", refusal);
    else if (code == SB_OK && command > 0)
        code = await_outcome(cli, remote, command, err);
    else if (code == SB_OK)
        sb_cli_note(cli, "%s would be taken", cli->command->verb);
    json_decref(answer);
    sb_buf_fini(&id);
    return code;
}

/* ---- many ---- */

static sb_code_t add_filter(const sb_cli_t *cli, sb_buf_t *body, sb_error_t *err)
{
    bool any = false;
    sb_buf_add_text(body, ",\"filter\":{");
    for (const sb_saga_filter_option_t *filter = sb_saga_filter_options; filter->option; filter++) {
        const char *value = option(cli, filter->option);
        if (!value)
            continue;
        sb_buf_printf(body, "%s\"%s\":", any ? "," : "", filter->member);
        any = true;
        if (filter->is_flag)
            sb_buf_add_text(body, "true");
        else
            sb_buf_add_json(body, sb_slice(value));
    }
    sb_buf_add_char(body, '}');
    return any ? SB_OK
               : sb_fail(err, SB_INVALID,
                         "saga %s needs a SAGA, or options that say which ones: --type, --step, --error, …",
                         cli->command->verb);
}

/* What the pages of an act on many came to: one answer, as if it had been one call. */
typedef struct tally {
    json_t *answer; /* of the first page, with all items; NULL: none yet */
    json_int_t matched;
    sb_buf_t acts; /* their numbers in the record, "5, 6" */
    int act_count;
    char next[64]; /* cursor of what was not looked at; "": it was all */
} tally_t;

static void add_page(tally_t *tally, json_t *page)
{
    const json_t *act = json_object_get(page, "act");
    const char *next = json_string_value(json_object_get(page, "next_cursor"));
    tally->matched += json_integer_value(json_object_get(page, "matched"));
    (void)snprintf(tally->next, sizeof tally->next, "%s", next ? next : "");
    if (json_is_integer(act))
        sb_buf_printf(&tally->acts, "%s%" PRId64, tally->act_count++ ? ", " : "",
                      (int64_t)json_integer_value(act));
    if (!tally->answer) {
        tally->answer = json_incref(page);
        return;
    }
    (void)json_array_extend(json_object_get(tally->answer, "items"), json_object_get(page, "items"));
    (void)json_object_set_new(tally->answer, "matched", json_integer(tally->matched));
    (void)json_object_set(tally->answer, "more", json_object_get(page, "more"));
    (void)json_object_set(tally->answer, "next_cursor", json_object_get(page, "next_cursor"));
}

static sb_code_t ask_page(sb_cli_t *cli, sb_remote_t *remote, const sb_buf_t *common, int64_t limit,
                          const char *cursor, tally_t *tally, sb_error_t *err)
{
    json_t *page = NULL;
    sb_buf_t body = SB_BUF_INIT;
    sb_buf_add_slice(&body, sb_buf_slice(common));
    add_text(&body, "cursor", cursor);
    sb_buf_printf(&body, ",\"limit\":%" PRId64 ",\"verb\":\"%s\"}", limit, cli->command->verb);
    sb_remote_call_t call = {.method = "POST", .path = "/v1/sagas/bulk", .body = sb_buf_slice(&body)};
    sb_code_t code = sb_remote_send(remote, &call, NULL, &page, err);
    if (code == SB_OK)
        add_page(tally, page);
    json_decref(page);
    sb_buf_fini(&body);
    return code;
}

/* Page by page, so that no request is long, and one that fails or Ctrl-C leaves a place to go on from. */
static sb_code_t ask_pages(sb_cli_t *cli, sb_remote_t *remote, const sb_buf_t *common, int64_t limit,
                           tally_t *tally, sb_error_t *err)
{
    int64_t page_max = sb_cli_option(cli, "dry-run") ? TRY_PAGE_MAX : ACT_PAGE_MAX;
    const char *cursor = sb_cli_option(cli, "cursor");
    sb_code_t code = SB_OK;
    sb_cli_catch_interrupt();
    do {
        int64_t left = limit - tally->matched;
        code = ask_page(cli, remote, common, left < page_max ? left : page_max, cursor, tally, err);
        cursor = tally->next;
        if (code == SB_OK && cursor[0] && tally->matched < limit && isatty(STDERR_FILENO))
            sb_cli_note(cli, "%" PRId64 " so far", (int64_t)tally->matched);
    } while (code == SB_OK && cursor[0] && tally->matched < limit && !sb_cli_interrupted());
    if (code == SB_OK && cursor[0] && tally->matched < limit)
        cli->exit_code = SB_EXIT_INTERRUPTED;
    return code;
}

static int count_refused(const json_t *items)
{
    int count = 0;
    for (size_t i = 0; i < json_array_size(items); i++)
        count += json_is_string(json_object_get(json_array_get(items, i), "refusal"));
    return count;
}

static void print_many(sb_cli_t *cli, const tally_t *tally)
{
    static const sb_column_t columns[] = {{"ID", "/id"},           {"TYPE", "/type"}, {"KEY", "/key"},
                                          {"STATUS", "/status"},   {"STEP", "/step"}, {"ERROR", "/error"},
                                          {"REFUSAL", "/refusal"}, {NULL, NULL}};
    const char *verb = cli->command->verb;
    const json_t *items = json_object_get(tally->answer, "items");
    int refused = count_refused(items);
    if (cli->out.format == SB_OUTPUT_JSON)
        sb_output_json(&cli->out, tally->answer);
    else
        sb_output_items(&cli->out, items, columns);
    if (tally->matched == 0)
        sb_cli_note(cli, "no open saga is like that");
    else if (json_is_true(json_object_get(tally->answer, "dry_run")))
        sb_cli_note(cli, "%s would be taken by %d and refused by %d; nothing was done", verb,
                    (int)tally->matched - refused, refused);
    else
        sb_cli_note(cli, "%s is on its way to %d; sagabus audit list --act %s says what came of %s", verb,
                    (int)tally->matched, tally->act_count == 1 ? sb_buf_text(&tally->acts) : "NUMBER",
                    tally->act_count == 1 ? "it" : "each part");
    if (tally->act_count > 1)
        sb_cli_note(cli, "its parts are acts %s", sb_buf_text(&tally->acts));
    if (tally->next[0])
        sb_cli_note(cli, "there are more: the same again with --cursor %s", tally->next);
}

static sb_code_t act_on_many(sb_cli_t *cli, sb_remote_t *remote, sb_buf_t *body, sb_error_t *err)
{
    int64_t limit = 0;
    tally_t tally = {.acts = SB_BUF_INIT};
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, INT64_MAX, INT64_MAX, &limit, err);
    if (code == SB_OK)
        code = add_filter(cli, body, err);
    if (code == SB_OK)
        code = ask_pages(cli, remote, body, limit, &tally, err);
    if (tally.answer)
        print_many(cli, &tally);
    json_decref(tally.answer);
    sb_buf_fini(&tally.acts);
    return code;
}

sb_code_t sb_cmd_saga_act(sb_cli_t *cli, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t body = SB_BUF_INIT;
    sb_buf_add_char(&body, '{');
    sb_code_t code = add_members(cli, &body, err);
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = cli->argument_count > 0 ? act_on_one(cli, remote, &body, err)
                                       : act_on_many(cli, remote, &body, err);
    sb_buf_fini(&body);
    sb_remote_close(&remote);
    return code;
}

/* ---- the record ---- */

static sb_code_t audit_path(sb_cli_t *cli, sb_remote_t *remote, sb_buf_t *path, sb_error_t *err)
{
    int64_t limit, act;
    const char *saga = sb_cli_option(cli, "saga");
    const char *cursor = sb_cli_option(cli, "cursor");
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, 500, 50, &limit, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "act", 1, INT64_MAX, 0, &act, err);
    if (code != SB_OK)
        return code;
    sb_buf_printf(path, "/v1/audit?limit=%" PRId64, limit);
    if (act)
        sb_buf_printf(path, "&act=%" PRId64, act);
    if (cursor) {
        sb_buf_add_text(path, "&cursor=");
        sb_http_encode(path, sb_slice(cursor));
    }
    if (!saga)
        return SB_OK;
    sb_buf_add_text(path, "&saga=");
    return sb_remote_saga_id(remote, saga, path, err);
}

/* Most verbs have none: an empty place says that better than braces. */
static void drop_empty_details(const json_t *page)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        if (json_object_size(json_object_get(item, "detail")) == 0)
            (void)json_object_del(item, "detail");
    }
}

sb_code_t sb_cmd_audit_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"AT", "/at"},         {"WHO", "/who"},       {"ACT", "/act"},         {"TARGET", "/target"},
        {"DETAIL", "/detail"}, {"REASON", "/reason"}, {"OUTCOME", "/outcome"}, {NULL, NULL}};
    sb_remote_t *remote = NULL;
    sb_buf_t path = SB_BUF_INIT;
    json_t *page = NULL;
    sb_code_t code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK)
        code = audit_path(cli, remote, &path, err);
    if (code == SB_OK)
        code = sb_remote_get(remote, sb_buf_text(&path), &page, err);
    if (code == SB_OK && cli->out.format == SB_OUTPUT_TABLE)
        drop_empty_details(page);
    if (code == SB_OK)
        sb_cli_print_page(cli, page, columns);
    json_decref(page);
    sb_buf_fini(&path);
    sb_remote_close(&remote);
    return code;
}
