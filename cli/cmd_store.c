/* store detach: in this process, against PostgreSQL, as the owner.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "events/store/detach.h"
#include "migrations/list.h"

#include <inttypes.h>

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
    if (!confirmed && plan.count)
        sb_cli_note(cli, "nothing was done: --confirm detaches them. Reading below then answers that it is "
                         "no longer kept, "
                         "and no view can be rebuilt from the beginning.");
    else if (done)
        sb_cli_note(cli, "the tables are still there: archive or drop them");
    return code;
}
