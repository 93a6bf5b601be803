/* store detach and store gaps: in this process, against PostgreSQL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/commands.h"
#include "events/store/detach.h"
#include "events/tally.h"
#include "migrations/list.h"

#include <inttypes.h>
#include <unistd.h>

#define GAPS_DEFAULT 100

static sb_code_t read_class(const sb_cli_t *cli, sb_event_class_t *out, sb_error_t *err)
{
    const char *text = sb_cli_option(cli, "class");
    *out = text && strcmp(text, "saga") == 0 ? SB_CLASS_SAGA : SB_CLASS_DOMAIN;
    if (text && strcmp(text, "saga") != 0 && strcmp(text, "domain") != 0)
        return sb_fail(err, SB_INVALID, "--class %s: expected domain or saga", text);
    return SB_OK;
}

static void print_plan(sb_cli_t *cli, const sb_detach_plan_t *plan, int done)
{
    static const sb_column_t columns[] = {{"TABLE", "/table"},   {"FROM", "/from"},   {"TO", "/to"},
                                          {"EVENTS", "/events"}, {"BYTES", "/bytes"}, {"STATE", "/state"},
                                          {NULL, NULL}};
    json_t *items = json_array();
    for (int i = 0; i < plan->count; i++) {
        const sb_detach_range_t *range = &plan->range[i];
        (void)json_array_append_new(
            items, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "table", range->leaf, "from",
                             (json_int_t)range->from, "to", (json_int_t)range->to, "events",
                             (json_int_t)range->events, "bytes", (json_int_t)range->bytes, "state",
                             i < done       ? "detached"
                             : range->begun ? "begun"
                                            : "attached"));
    }
    sb_output_items(&cli->out, items, columns);
    json_decref(items);
}

sb_code_t sb_cmd_store_detach(sb_cli_t *cli, sb_error_t *err)
{
    bool confirmed = sb_cli_option(cli, "confirm") != NULL;
    int64_t before = 0;
    int64_t patience_ms = 0;
    int done = 0;
    sb_event_class_t event_class;
    sb_detach_plan_t plan;
    sb_pg_t *pg = NULL;
    if (!sb_cli_option(cli, "before"))
        return sb_fail(err, SB_INVALID, "store detach needs --before SEQ: ranges that lie below it go");
    sb_code_t code = sb_cli_option_int(cli, "before", 1, INT64_MAX, 0, &before, err);
    if (code == SB_OK)
        code = sb_cli_option_ms(cli, "timeout", 60000, &patience_ms, err);
    if (code == SB_OK)
        code = read_class(cli, &event_class, err);
    if (code == SB_OK)
        code = sb_cli_pg(cli, true, &pg, err);
    if (code == SB_OK)
        code = sb_migrate_check(pg, SB_SCHEMA, sb_migrations, err);
    if (code == SB_OK)
        code = sb_detach_plan(pg, event_class, before, &plan, err);
    if (code != SB_OK) {
        sb_pg_close(&pg);
        return code;
    }
    while (confirmed && code == SB_OK && done < plan.count) {
        code = sb_detach_range(pg, event_class, &plan.range[done], patience_ms, err);
        done += code == SB_OK;
    }
    sb_pg_close(&pg);
    print_plan(cli, &plan, done);
    if (plan.count == 0)
        sb_cli_note(cli, "no range lies below %lld as a whole: nothing to detach", (long long)before);
    if (!confirmed && plan.count)
        sb_cli_note(cli, "nothing was done: --confirm detaches them. Reading below then answers that it is "
                         "no longer kept, "
                         "and no view can be rebuilt from the beginning.");
    else if (done)
        sb_cli_note(cli, "the tables are still there: archive or drop them");
    return code;
}

/* ---- store gaps ---- */

static json_t *gap_json(const sb_pg_result_t *rows, int row)
{
    char found[SB_TIME_TEXT], accepted[SB_TIME_TEXT];
    bool open = sb_pg_is_null(rows, row, 6);
    int64_t events = sb_pg_get_int(rows, row, 3), taken = sb_pg_get_int(rows, row, 4);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:s?, s:s?, s:s?}", "reader",
                     sb_pg_get_text(rows, row, 0), "from", (json_int_t)sb_pg_get_int(rows, row, 1), "to",
                     (json_int_t)sb_pg_get_int(rows, row, 2), "events", (json_int_t)events, "taken",
                     (json_int_t)taken, "found_at", sb_time_format(sb_pg_get_time(rows, row, 5), found),
                     "accepted_at", open ? NULL : sb_time_format(sb_pg_get_time(rows, row, 6), accepted),
                     "accepted_by", open ? NULL : sb_pg_get_text(rows, row, 7), "reason",
                     open ? NULL : sb_pg_get_text(rows, row, 8));
}

static sb_code_t list_gaps(sb_cli_t *cli, sb_pg_t *pg, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"READER", "/reader"}, {"FROM", "/from"},      {"TO", "/to"},           {"EVENTS", "/events"},
        {"TAKEN", "/taken"},   {"FOUND", "/found_at"}, {"ACCEPTED", "/reason"}, {NULL, NULL}};
    sb_pg_result_t *rows = NULL;
    int64_t limit = 0;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, 10000, GAPS_DEFAULT, &limit, err);
    if (code == SB_OK)
        code = sb_tally_gaps(pg, limit, &rows, err);
    json_t *items = json_array();
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++)
        (void)json_array_append_new(items, gap_json(rows, row));
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    if (code == SB_OK && json_array_size(items) == 0)
        sb_cli_note(cli, "no gap was found: each reader took in what the store has");
    json_decref(items);
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t accept_gaps(const sb_cli_t *cli, sb_pg_t *pg, sb_error_t *err)
{
    char by[96];
    char host[64] = "";
    int64_t count = 0;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(by, sizeof by, "cli@%s:%d", host, (int)getpid());
    sb_code_t code = sb_tally_accept(pg, cli->argument_count > 0 ? cli->argument[0] : NULL, by,
                                     sb_cli_option(cli, "reason"), &count, err);
    if (code == SB_OK)
        sb_cli_note(cli, "%lld ranges are accepted", (long long)count);
    return code;
}

sb_code_t sb_cmd_store_gaps(sb_cli_t *cli, sb_error_t *err)
{
    sb_pg_t *pg = NULL;
    bool accepts = sb_cli_option(cli, "accept") != NULL;
    if (accepts && !sb_cli_option(cli, "reason"))
        return sb_fail(err, SB_INVALID, "store gaps --accept needs a --reason");
    if (!accepts && cli->argument_count > 0)
        return sb_fail(err, SB_INVALID, "READER goes with --accept");
    sb_code_t code = sb_cli_pg(cli, false, &pg, err);
    if (code == SB_OK)
        code = sb_migrate_check(pg, SB_SCHEMA, sb_migrations, err);
    if (code == SB_OK)
        code = accepts ? accept_gaps(cli, pg, err) : list_gaps(cli, pg, err);
    sb_pg_close(&pg);
    return code;
}
