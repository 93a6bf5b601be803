/* Erasing bodies over HTTP: where the server works as the owner of the database.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/erase.h"

#include "server/body.h"
#include "server/handlers.h"
#include "server/worker.h"

#include <stdio.h>

enum { SEQ, STREAM, REASON, DRY_RUN, MEMBERS };

static sb_code_t read_which(const sb_member_t *member, sb_buf_t *stream, sb_erase_t *erase, sb_error_t *err)
{
    if (sb_member_is_there(&member[SEQ]) == sb_member_is_there(&member[STREAM]))
        return sb_fail(err, SB_INVALID, "give seq, for one event, or stream, for all of its events");
    if (sb_member_is_there(&member[SEQ]))
        return sb_scan_int64(&member[SEQ].value, &erase->seq) && erase->seq > 0
                   ? SB_OK
                   : sb_fail_at(err, SB_INVALID, "/seq", "seq must be a whole number from 1");
    sb_buf_t scratch = SB_BUF_INIT;
    sb_buf_add_slice(stream, sb_member_text(&member[STREAM], &scratch));
    stream->failed |= scratch.failed;
    sb_buf_fini(&scratch);
    if (sb_buf_failed(stream))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_code_t code = sb_erase_parse(sb_buf_text(stream), erase, err);
    if (code != SB_OK || erase->seq)
        return sb_fail_at(err, SB_INVALID, "/stream", "stream must be category/key, as order/o-1");
    return SB_OK;
}

static void write_answer(const sb_erase_t *erase, const sb_erase_report_t *report, sb_buf_t *out)
{
    sb_buf_add_text(out, "{\"stream\":");
    sb_buf_add_json(out, sb_slice(report->stream));
    sb_buf_printf(out,
                  ",\"erased\":%lld,\"erased_before\":%lld,\"first_version\":%d,\"snapshots\":%lld,"
                  "\"dead_letters\":%lld,\"views\":%s,\"dry_run\":%s}\n",
                  (long long)report->erased, (long long)report->before, report->first_version,
                  (long long)report->snapshots, (long long)report->dead_letters, report->views,
                  erase->dry_run ? "true" : "false");
}

sb_code_t sb_post_event_erase(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_member_t member[MEMBERS + 1] = {[SEQ] = {"seq", "n", {0}},
                                       [STREAM] = {"stream", "s", {0}},
                                       [REASON] = {"reason", "s", {0}},
                                       [DRY_RUN] = {"dry_run", "b", {0}}};
    sb_buf_t stream = SB_BUF_INIT, reason = SB_BUF_INIT, scratch = SB_BUF_INIT;
    sb_erase_t erase = {.who = request->caller[0] ? request->caller : "anonymous"};
    sb_erase_report_t report;
    sb_code_t code = sb_body_read(request, member, err);
    if (code == SB_OK)
        code = read_which(member, &stream, &erase, err);
    if (code == SB_OK) {
        sb_buf_add_slice(&reason, sb_member_text(&member[REASON], &scratch));
        erase.reason = sb_buf_text(&reason);
        erase.dry_run = member[DRY_RUN].value.kind == SB_SCAN_TRUE;
        if (reason.len == 0)
            code = sb_fail_at(err, SB_INVALID, "/reason", "reason is needed: it is recorded");
    }
    if (code == SB_OK)
        code = sb_erase_run(worker->pg, &erase, &report, err);
    if (code == SB_OK)
        write_answer(&erase, &report, &request->out);
    sb_buf_fini(&stream);
    sb_buf_fini(&reason);
    sb_buf_fini(&scratch);
    return code;
}
