/* What the relay could not send as it was, and a store that goes on after a restore.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/migrate.h"
#include "bus/relay_admin.h"
#include "cli/commands.h"
#include "migrations/list.h"

#define LIMIT_DEFAULT 100

static sb_code_t open_store(const sb_cli_t *cli, sb_pg_t **pg, sb_error_t *err)
{
    sb_code_t code = sb_cli_pg(cli, false, pg, err);
    return code == SB_OK ? sb_migrate_check(*pg, SB_SCHEMA, sb_migrations, err) : code;
}

static json_t *withheld_event(const sb_pg_result_t *rows, int row)
{
    char id[SB_UUID_TEXT];
    char at[SB_TIME_TEXT];
    sb_uuid_t event_id = sb_pg_get_uuid(rows, row, 1);
    return json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s}", "seq", (json_int_t)sb_pg_get_int(rows, row, 0),
                     "id", sb_uuid_format(&event_id, id), "type", sb_pg_get_text(rows, row, 2), "topic",
                     sb_pg_get_text(rows, row, 3), "partition", (json_int_t)sb_pg_get_int(rows, row, 4),
                     "bytes", (json_int_t)sb_pg_get_int(rows, row, 5), "at",
                     sb_time_format(sb_pg_get_time(rows, row, 6), at));
}

sb_code_t sb_cmd_topics_withheld(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"SEQ", "/seq"},     {"TYPE", "/type"},           {"TOPIC", "/topic"},
        {"BYTES", "/bytes"}, {"PARTITION", "/partition"}, {"AT", "/at"},
        {NULL, NULL}};
    sb_pg_t *pg = NULL;
    sb_pg_result_t *rows = NULL;
    int64_t limit;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, 10000, LIMIT_DEFAULT, &limit, err);
    if (code == SB_OK)
        code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_relay_withheld(pg, limit, &rows, err);
    json_t *items = json_array();
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++)
        if (json_array_append_new(items, withheld_event(rows, row)) != 0)
            code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    json_decref(items);
    sb_pg_result_free(rows);
    sb_pg_close(&pg);
    return code;
}

sb_code_t sb_cmd_store_fork(sb_cli_t *cli, sb_error_t *err)
{
    sb_pg_t *pg = NULL;
    int64_t incarnation = 0;
    if (!sb_cli_option(cli, "confirm"))
        return sb_fail(
            err, SB_INVALID,
            "store fork says that this store goes on without the events that only Kafka has: they stay "
            "with consumers that have handled them. End the other store's servers first, then add "
            "--confirm");
    sb_code_t code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_relay_fork(pg, &incarnation, err);
    sb_pg_close(&pg);
    if (code != SB_OK)
        return code;
    json_t *result = json_pack("{s:I}", "incarnation", (json_int_t)incarnation);
    if (cli->out.format != SB_OUTPUT_TABLE)
        sb_output_json(&cli->out, result);
    else
        sb_cli_note(cli, "the store's incarnation is %lld now; its relay goes on by itself",
                    (long long)incarnation);
    json_decref(result);
    return SB_OK;
}
