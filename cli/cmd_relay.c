/* What the relay could not send as it was, and a store that goes on after a restore.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/migrate.h"
#include "bus/relay/relay_admin.h"
#include "cli/commands.h"
#include "migrations/list.h"

#include <stdio.h>
#include <unistd.h>

#define LIMIT_DEFAULT 100
#define LOOK_MS       300

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

/* ---- replay --to-topic ---- */

static void show_progress(const sb_cli_t *cli, const sb_relay_rebuild_state_t *state, bool terminal)
{
    if (cli->quiet || !terminal)
        return;
    if (!state->relay_runs)
        (void)fputs("\r\033[Kno relay runs: it begins with `sagabus serve`", stderr);
    else if (state->upto_seq > 0)
        (void)fprintf(stderr, "\r\033[K%lld of %lld, %lld events sent", (long long)state->done_seq,
                      (long long)state->upto_seq, (long long)state->sent);
}

static sb_code_t watch(const sb_cli_t *cli, sb_pg_t *pg, int64_t rebuild_no, sb_relay_rebuild_state_t *state,
                       sb_error_t *err)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    sb_code_t code;
    while ((code = sb_relay_rebuild_look(pg, rebuild_no, state, err)) == SB_OK && !state->ended &&
           !sb_cli_interrupted()) {
        show_progress(cli, state, terminal);
        sb_sleep_ms(LOOK_MS);
    }
    if (terminal && !cli->quiet)
        (void)fputs("\r\033[K", stderr);
    return code;
}

sb_code_t sb_cmd_replay_topic(sb_cli_t *cli, sb_error_t *err)
{
    char by[96];
    char host[64] = "";
    int64_t rebuild_no = 0;
    sb_pg_t *pg = NULL;
    sb_relay_rebuild_state_t state = {.ended = false};
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(by, sizeof by, "cli@%s:%d", host, (int)getpid());
    sb_code_t code = open_store(cli, &pg, err);
    if (code == SB_OK)
        code = sb_relay_rebuild_request(pg, cli->argument[0], sb_cli_option(cli, "recreate") != NULL, by,
                                        &rebuild_no, err);
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = watch(cli, pg, rebuild_no, &state, err);
    }
    sb_pg_close(&pg);
    if (code == SB_OK && !state.ended) {
        sb_cli_note(cli, "the request stays: the relay goes on with it");
        cli->exit_code = SB_EXIT_INTERRUPTED;
        return SB_OK;
    }
    if (code == SB_OK && state.error[0])
        code = sb_fail(err, SB_CONFLICT, "%s", state.error);
    if (code != SB_OK)
        return code;
    json_t *result = json_pack("{s:s, s:I, s:I}", "category", cli->argument[0], "seq",
                               (json_int_t)state.done_seq, "events", (json_int_t)state.sent);
    if (cli->out.format != SB_OUTPUT_TABLE)
        sb_output_json(&cli->out, result);
    else
        sb_cli_note(cli, "%lld events sent again, up to seq %lld", (long long)state.sent,
                    (long long)state.done_seq);
    json_decref(result);
    return SB_OK;
}
