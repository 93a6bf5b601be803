/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/erase.h"

#include "events/store/store.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { DONE, NO_SUCH, OF_A_SAGA };

sb_code_t sb_erase_parse(const char *text, sb_erase_t *erase, sb_error_t *err)
{
    char *end = NULL;
    erase->seq = 0;
    if (sb_stream_parse(text, &erase->category, &erase->key))
        return SB_OK;
    erase->seq = strtoll(text, &end, 10);
    if (end == text || *end || erase->seq < 1)
        return sb_fail(err, SB_INVALID,
                       "%s: expected an event's sequence number, or a stream as CATEGORY/KEY", text);
    return SB_OK;
}

static sb_code_t refused(const sb_erase_t *erase, int outcome, sb_error_t *err)
{
    char what[320];
    if (erase->seq)
        (void)snprintf(what, sizeof what, "event %" PRId64, erase->seq);
    else
        (void)snprintf(what, sizeof what, "stream %.*s/%.*s", SB_SLICE_ARG(erase->category),
                       SB_SLICE_ARG(erase->key));
    if (outcome == OF_A_SAGA)
        return sb_fail(
            err, SB_UNSUPPORTED,
            "%s is a saga's: its events are the saga's state and are not erased; docs/guarantees.md "
            "(Erasing, Sagas) has the way to meet a deletion request",
            what);
    return sb_fail(err, SB_NOT_FOUND, "there is no %s", what);
}

static void take_report(const sb_pg_result_t *rows, sb_erase_report_t *report)
{
    (void)snprintf(report->stream, sizeof report->stream, "%s", sb_pg_get_text(rows, 0, 1));
    report->first_version = (int)sb_pg_get_int(rows, 0, 2);
    report->erased = sb_pg_get_int(rows, 0, 3);
    report->before = sb_pg_get_int(rows, 0, 4);
    report->snapshots = sb_pg_get_int(rows, 0, 5);
    report->dead_letters = sb_pg_get_int(rows, 0, 6);
    sb_slice_t views = sb_pg_get_slice(rows, 0, 7);
    (void)snprintf(report->views, sizeof report->views, "%.*s",
                   SB_SLICE_ARG(views.len < sizeof report->views ? views : SB_SLICE("[\"*\"]")));
}

sb_code_t sb_erase_run(sb_pg_t *pg, const sb_erase_t *erase, sb_erase_report_t *report, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    *report = (sb_erase_report_t){.erased = 0};
    if (!erase->dry_run && (!erase->reason || !erase->reason[0]))
        return sb_fail(err, SB_INVALID, "erasing needs a reason: it is recorded");
    if (!erase->seq && sb_slice_is(erase->category, SB_SAGA_CATEGORY))
        return refused(erase, OF_A_SAGA, err);
    sb_pg_add_slice(&params, erase->category);
    sb_pg_add_slice(&params, erase->key);
    if (erase->seq)
        sb_pg_add_int8(&params, erase->seq);
    else
        sb_pg_add_null(&params, SB_PG_INT8);
    sb_pg_add_text(&params, erase->who);
    sb_pg_add_text(&params, erase->reason);
    sb_pg_add_bool(&params, erase->dry_run);
    sb_code_t code = sb_pg_query(pg, sb_sql_event_erase, &params, &rows, err);
    if (code == SB_DENIED)
        code = sb_fail(
            err, SB_DENIED,
            "erasing is for the owner of the database alone: run `sagabus event erase` with its pg.uri");
    if (code == SB_OK && sb_pg_get_int(rows, 0, 0) != DONE)
        code = refused(erase, (int)sb_pg_get_int(rows, 0, 0), err);
    else if (code == SB_OK)
        take_report(rows, report);
    sb_pg_result_free(rows);
    return code;
}
