/* SPDX-License-Identifier: Apache-2.0 */
#include "server/problem.h"

#include "base/clock.h"

static void member(sb_buf_t *out, const char *name, const char *value)
{
    sb_buf_printf(out, ",\"%s\":", name);
    sb_buf_add_json(out, sb_slice(value));
}

void sb_problem_status(sb_request_t *request, int status, const char *code, const char *title,
                       const sb_error_t *err)
{
    char now[SB_TIME_TEXT];
    sb_buf_t *out = &request->out;
    request->status = status;
    request->answer_type = "application/problem+json";
    request->location[0] = '\0';
    request->etag[0] = '\0';
    if ((err->retryable || status == 503) && request->retry_after_s == 0)
        request->retry_after_s = 1;
    sb_buf_reset(out);
    sb_buf_printf(out, "{\"type\":\"https://sagabus.dev/problems/%s\"", code);
    member(out, "title", title);
    sb_buf_printf(out, ",\"status\":%d", status);
    member(out, "detail", err->message);
    member(out, "instance", request->path ? request->path : "/");
    member(out, "code", code);
    member(out, "request_id", request->request_id);
    member(out, "timestamp", sb_time_format(sb_wall_us(), now));
    if (request->first_version > 0)
        sb_buf_printf(out, ",\"first_version\":%d", request->first_version);
    if (err->pointer[0]) {
        sb_buf_add_text(out, ",\"details\":[{\"pointer\":");
        sb_buf_add_json(out, sb_slice(err->pointer));
        member(out, "detail", err->message);
        sb_buf_add_text(out, "}]");
    }
    sb_buf_add_text(out, "}\n");
}

void sb_problem(sb_request_t *request, const sb_error_t *err)
{
    sb_problem_status(request, sb_code_http(err->code), sb_code_name(err->code), sb_code_text(err->code),
                      err);
}
