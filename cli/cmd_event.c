/* publish, event append: over HTTP.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "cli/commands.h"
#include "cli/remote.h"

#include <stdlib.h>

/* ---- append ---- */

static void add_member(sb_buf_t *body, const char *name, const char *text)
{
    if (!text)
        return;
    sb_buf_printf(body, ",\"%s\":", name);
    sb_buf_add_json(body, sb_slice(text));
}

/* any, none, exists as text; a version as a number. */
static sb_code_t add_expected(sb_buf_t *body, const char *text, sb_error_t *err)
{
    char *end = NULL;
    if (!text)
        return SB_OK;
    if (strcmp(text, "any") == 0 || strcmp(text, "none") == 0 || strcmp(text, "exists") == 0) {
        add_member(body, "expected_version", text);
        return SB_OK;
    }
    long version = strtol(text, &end, 10);
    if (end == text || *end || version < 0 || version > INT32_MAX)
        return sb_fail(err, SB_INVALID, "--expect %s: expected any, none, exists or a version", text);
    sb_buf_printf(body, ",\"expected_version\":%ld", version);
    return SB_OK;
}

static sb_code_t append_body(const sb_cli_t *cli, const char *expect, sb_buf_t *body, sb_error_t *err)
{
    const char *data = sb_cli_option(cli, "data");
    const char *key = sb_cli_option(cli, "key");
    sb_buf_t text = SB_BUF_INIT;
    size_t bad_at = 0;
    if (!key)
        return sb_fail(err, SB_INVALID, "%s needs --key K: events of one key stay in order",
                       cli->command->noun);
    if (!data)
        return sb_fail(err, SB_INVALID, "%s needs --data JSON, @FILE or @-", cli->command->noun);
    sb_code_t code = sb_cli_check_trace(cli, err);
    if (code == SB_OK)
        code = sb_cli_content(data, &text, err);
    if (code == SB_OK && !sb_scan_valid(sb_buf_slice(&text), &bad_at))
        code = sb_fail(err, SB_INVALID, "--data is not JSON: byte %zu", bad_at);
    if (code == SB_OK) {
        sb_buf_add_text(body, "{\"type\":");
        sb_buf_add_json(body, sb_slice(cli->argument[0]));
        add_member(body, "subject", key);
        add_member(body, "id", sb_cli_option(cli, "id"));
        add_member(body, "source", sb_cli_option(cli, "source"));
        add_member(body, "traceparent", sb_cli_option(cli, "traceparent"));
        code = add_expected(body, expect, err);
        sb_buf_add_text(body, ",\"data\":");
        sb_buf_add_slice(body, sb_buf_slice(&text));
        sb_buf_add_char(body, '}');
    }
    sb_buf_fini(&text);
    if (code == SB_OK && sb_buf_failed(body))
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    return code;
}

static sb_code_t append(sb_cli_t *cli, const char *expect, sb_error_t *err)
{
    sb_remote_t *remote = NULL;
    sb_buf_t body = SB_BUF_INIT;
    json_t *answer = NULL;
    int status = 0;
    sb_code_t code = append_body(cli, expect, &body, err);
    if (code == SB_OK)
        code = sb_remote_open(&remote, cli->config, err);
    if (code == SB_OK) {
        sb_remote_call_t call = {.method = "POST", .path = "/v1/events", .body = sb_buf_slice(&body)};
        code = sb_remote_send(remote, &call, &status, &answer, err);
    }
    if (code == SB_UNKNOWN_OUTCOME && !sb_cli_option(cli, "id"))
        code = sb_context(err, code, "it may have been appended; with --id it could be asked again");
    if (code == SB_OK)
        sb_output_object(&cli->out, answer);
    if (code == SB_OK && status == 200)
        sb_cli_note(cli, "this id was there already: this is its first answer");
    json_decref(answer);
    sb_buf_fini(&body);
    sb_remote_close(&remote);
    return code;
}

sb_code_t sb_cmd_publish(sb_cli_t *cli, sb_error_t *err)
{
    if (sb_cli_option(cli, "direct"))
        return sb_cmd_publish_direct(cli, err);
    static const char *const of_direct[] = {"topic", "structured", "timeout"};
    for (size_t i = 0; i < sizeof of_direct / sizeof of_direct[0]; i++)
        if (sb_cli_option(cli, of_direct[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with --direct", of_direct[i]);
    return append(cli, NULL, err);
}

/* Options of one event do not go with a file of them, nor the other way round. */
static sb_code_t check_mode(const sb_cli_t *cli, const char *file, sb_error_t *err)
{
    static const char *const of_one[] = {"key", "data", "expect", "id", "source", "traceparent"};
    static const char *const of_file[] = {"batch-id", "chunk", "dry-run"};
    for (size_t i = 0; file && i < sizeof of_one / sizeof of_one[0]; i++)
        if (sb_cli_option(cli, of_one[i]))
            return sb_fail(err, SB_INVALID, "--%s is of one event; with --file each line says it", of_one[i]);
    for (size_t i = 0; !file && i < sizeof of_file / sizeof of_file[0]; i++)
        if (sb_cli_option(cli, of_file[i]))
            return sb_fail(err, SB_INVALID, "--%s goes with --file", of_file[i]);
    if ((file != NULL) == (cli->argument_count > 0))
        return sb_fail(err, SB_INVALID,
                       file ? "--file and a TYPE: give one of them" : "expected a TYPE, or --file FILE");
    return SB_OK;
}

sb_code_t sb_cmd_event_append(sb_cli_t *cli, sb_error_t *err)
{
    const char *file = sb_cli_option(cli, "file");
    sb_code_t code = check_mode(cli, file, err);
    if (code != SB_OK)
        return code;
    return file ? sb_cmd_event_append_file(cli, file, err) : append(cli, sb_cli_option(cli, "expect"), err);
}
