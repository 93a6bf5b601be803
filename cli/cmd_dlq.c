/* dlq list|show|redrive|discard: dead letters of subscriptions, in a service's schema, and of push
 * subscriptions, in the store's own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "bus/subscriber/dlq.h"
#include "cli/commands.h"
#include "migrations/list.h"

#include <stdlib.h>

/* ---- the place ---- */

static sb_code_t open_state(const sb_cli_t *cli, sb_pg_t **out, sb_error_t *err)
{
    const char *schema = sb_cli_option(cli, "state");
    *out = NULL;
    const sb_migration_t *tables = schema ? sb_client_migrations : sb_migrations;
    sb_pg_config_t config = {.uri = sb_config_get(cli->config, "pg.uri"),
                             .application_name = "sagabus-cli",
                             .search_path = schema ? schema : SB_SCHEMA};
    sb_code_t code = sb_pg_open(out, &config, err);
    if (code != SB_OK)
        return code;
    code = sb_migrate_check(*out, config.search_path, tables, err);
    if (code != SB_OK)
        sb_pg_close(out);
    return code;
}

static sb_code_t read_filter(const sb_cli_t *cli, sb_dlq_filter_t *out, sb_error_t *err)
{
    *out = (sb_dlq_filter_t){.subscription = cli->argument[0],
                             .key = sb_cli_option(cli, "key"),
                             .error = sb_cli_option(cli, "error")};
    return sb_cli_option_int(cli, "no", 1, INT64_MAX, 0, &out->no, err);
}

static sb_code_t print_counts(sb_cli_t *cli, bool discarded, int64_t rows, int64_t keys, sb_error_t *err)
{
    json_t *result = json_pack("{s:I, s:I}", "dead_letters", (json_int_t)rows, "keys", (json_int_t)keys);
    if (!result)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (cli->out.format != SB_OUTPUT_TABLE)
        sb_output_json(&cli->out, result);
    else if (discarded)
        sb_cli_note(cli, "%lld dead letters discarded, %lld keys flow again", (long long)rows,
                    (long long)keys);
    else if (rows + keys > 0)
        sb_cli_note(
            cli,
            "marked to be handled again: %lld held keys, each with all that waits behind it, and %lld dead "
            "letters of their own; a running %s takes them up",
            (long long)keys, (long long)rows, cli->argument[0]);
    json_decref(result);
    return rows + keys > 0 ? SB_OK : sb_fail(err, SB_NOT_FOUND, "no open dead letter fits");
}

/* ---- commands ---- */

sb_code_t sb_cmd_dlq_list(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"SUBSCRIPTION", "/subscription"},
                                          {"COUNT", "/count"},
                                          {"KEYS HELD", "/keys"},
                                          {"DUE", "/due"},
                                          {"FIRST", "/first_no"},
                                          {"OLDEST", "/oldest"},
                                          {"ERROR", "/error"},
                                          {NULL, NULL}};
    sb_pg_t *pg = NULL;
    json_t *items = NULL;
    sb_code_t code = open_state(cli, &pg, err);
    if (code == SB_OK)
        code = sb_dlq_list(pg, cli->argument_count ? cli->argument[0] : NULL, &items, err);
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    if (code == SB_OK && json_array_size(items) == 0)
        sb_cli_note(cli, "no open dead letters%s",
                    sb_cli_option(cli, "state") ? ""
                                                : " of push subscriptions; --state SCHEMA: of a service");
    json_decref(items);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_dlq_show(sb_cli_t *cli, sb_error_t *err)
{
    char *end = NULL;
    sb_pg_t *pg = NULL;
    json_t *item = NULL;
    long long no = strtoll(cli->argument[0], &end, 10);
    if (end == cli->argument[0] || *end || no < 1)
        return sb_fail(err, SB_INVALID, "%s: expected the number of a dead letter", cli->argument[0]);
    sb_code_t code = open_state(cli, &pg, err);
    if (code == SB_OK)
        code = sb_dlq_show(pg, no, &item, err);
    if (code == SB_OK)
        sb_output_object(&cli->out, item);
    json_decref(item);
    sb_pg_close(&pg);
    return code;
}

/* The new body, if there is one. */
static sb_code_t read_edit(const sb_cli_t *cli, const sb_dlq_filter_t *filter, sb_buf_t *body,
                           sb_error_t *err)
{
    const char *value = sb_cli_option(cli, "edit");
    size_t bad_at = 0;
    if (!value)
        return SB_OK;
    if (!filter->no)
        return sb_fail(err, SB_INVALID, "--edit needs --no NUMBER: it replaces the body of one dead letter");
    sb_code_t code = sb_cli_content(value, body, err);
    if (code == SB_OK && !sb_scan_valid(sb_buf_slice(body), &bad_at))
        code = sb_fail(err, SB_INVALID, "--edit is not JSON: byte %zu", bad_at);
    return code;
}

sb_code_t sb_cmd_dlq_redrive(sb_cli_t *cli, sb_error_t *err)
{
    int64_t rate = 0;
    int64_t keys = 0;
    int64_t rows = 0;
    sb_pg_t *pg = NULL;
    sb_buf_t body = SB_BUF_INIT;
    sb_dlq_filter_t filter;
    sb_code_t code = read_filter(cli, &filter, err);
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "rate", 1, 1000, 0, &rate, err);
    if (code == SB_OK)
        code = read_edit(cli, &filter, &body, err);
    if (code == SB_OK)
        code = open_state(cli, &pg, err);
    if (code == SB_OK && sb_cli_option(cli, "edit"))
        code = sb_dlq_edit(pg, filter.subscription, filter.no, sb_buf_slice(&body), err);
    if (code == SB_OK)
        code = sb_dlq_redrive(pg, &filter, rate ? (1000000 + rate - 1) / rate : 0, &keys, &rows, err);
    sb_buf_fini(&body);
    sb_pg_close(&pg);
    return code == SB_OK ? print_counts(cli, false, rows, keys, err) : code;
}

sb_code_t sb_cmd_dlq_discard(sb_cli_t *cli, sb_error_t *err)
{
    int64_t keys = 0;
    int64_t rows = 0;
    sb_pg_t *pg = NULL;
    sb_dlq_filter_t filter;
    const char *reason = sb_cli_option(cli, "reason");
    if (!reason || !reason[0])
        return sb_fail(err, SB_INVALID, "dlq discard needs --reason TEXT: it is kept with what is discarded");
    sb_code_t code = read_filter(cli, &filter, err);
    if (code == SB_OK)
        code = open_state(cli, &pg, err);
    if (code == SB_OK)
        code = sb_dlq_discard(pg, &filter, reason, &rows, &keys, err);
    sb_pg_close(&pg);
    return code == SB_OK ? print_counts(cli, true, rows, keys, err) : code;
}
