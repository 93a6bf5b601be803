/* event erase: in this process, against PostgreSQL, as the owner.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"
#include "events/store/erase.h"
#include "migrations/list.h"

static void print_report(sb_cli_t *cli, const sb_erase_t *erase, const sb_erase_report_t *r)
{
    json_t *views = json_loads(r->views, 0, NULL);
    sb_buf_t names = SB_BUF_INIT;
    const json_t *name;
    size_t i;
    json_array_foreach(views, i, name) sb_buf_printf(&names, " %s", json_string_value(name));
    json_t *result = json_pack("{s:s, s:I, s:I, s:i, s:I, s:I, s:o, s:b}", "stream", r->stream, "erased",
                               (json_int_t)r->erased, "erased_before", (json_int_t)r->before, "first_version",
                               r->first_version, "snapshots", (json_int_t)r->snapshots, "dead_letters",
                               (json_int_t)r->dead_letters, "views", views, "dry_run", erase->dry_run);
    sb_output_object(&cli->out, result);
    json_decref(result);
    if (erase->dry_run && r->erased)
        sb_cli_note(cli, "nothing was done: --confirm erases them, and nothing brings them back");
    else if (r->erased)
        sb_cli_note(cli,
                    "Kafka, consumers and backups still have what they had: docs/guarantees.md says what "
                    "to do about each");
    if (names.len > 0 && r->erased)
        sb_cli_note(cli, "the rows of these views are to be made anew, with sagabus replay:%s",
                    sb_buf_text(&names));
    if (r->first_version > 1 && erase->seq == 0)
        sb_cli_note(cli, "versions before %d were detached: archives of them still have the bodies",
                    r->first_version);
    if (r->first_version > 1 && r->snapshots > 0)
        sb_cli_note(cli, "without its snapshot an aggregate of this stream can no longer be loaded, its "
                         "first events are gone");
    sb_buf_fini(&names);
}

sb_code_t sb_cmd_event_erase(sb_cli_t *cli, sb_error_t *err)
{
    sb_erase_t erase = {.reason = sb_cli_option(cli, "reason"),
                        .dry_run = sb_cli_option(cli, "confirm") == NULL};
    sb_erase_report_t report;
    sb_pg_t *pg = NULL;
    if (!erase.reason || !erase.reason[0])
        return sb_fail(err, SB_INVALID, "event erase needs --reason TEXT: it is recorded");
    sb_code_t code = sb_erase_parse(cli->argument[0], &erase, err);
    if (code == SB_OK)
        code = sb_cli_pg(cli, true, &pg, err);
    if (code == SB_OK)
        code = sb_migrate_check(pg, SB_SCHEMA, sb_migrations, err);
    if (code == SB_OK)
        code = sb_erase_run(pg, &erase, &report, err);
    sb_pg_close(&pg);
    if (code == SB_OK)
        print_report(cli, &erase, &report);
    return code;
}
