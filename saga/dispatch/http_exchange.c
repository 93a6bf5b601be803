/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/http_exchange.h"

#include "base/scan.h"
#include "saga/contract.h"

#include <stdio.h>

/* ---- the request ---- */

void sb_http_request_fini(sb_http_request_t *request)
{
    sb_buf_fini(&request->text);
}

static bool is_printable(sb_slice_t value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
            return false;
    return true;
}

static void add_header(sb_buf_t *out, const sb_header_t *header, sb_slice_t value)
{
    if (strncmp(header->name, "ce_", 3) == 0) {
        sb_buf_printf(out, "ce-%s: ", header->name + 3);
        sb_webhook_add_value(out, value);
    } else if (strcmp(header->name, SB_H_TRACEPARENT) == 0 && is_printable(value)) {
        sb_buf_printf(out, SB_H_TRACEPARENT ": %.*s", SB_SLICE_ARG(value));
    } else {
        return; /* content-type is the call's */
    }
    sb_buf_add_char(out, '\0');
}

static sb_code_t add_signature(sb_buf_t *out, const sb_http_request_source_t *from, sb_error_t *err)
{
    sb_slice_t id = SB_SLICE_NONE;
    for (size_t i = 0; i < from->header_count; i++)
        if (strcmp(from->headers[i].name, SB_H_ID) == 0)
            id = from->headers[i].value;
    return sb_webhook_sign(out, id, from->wall_s, from->body, from->secret, 1, err);
}

sb_code_t sb_http_request_make(sb_http_request_t *request, const sb_http_request_source_t *from,
                               sb_error_t *err)
{
    sb_buf_t *text = &request->text;
    sb_buf_reset(text);
    request->count = 0;
    for (size_t i = 0; i < from->header_count && i < SB_HEADERS_MAX; i++) {
        const sb_header_t *header = &from->headers[i];
        bool is_expiry = strcmp(header->name, SB_H_EXPIRY) == 0 && from->expiry.ptr;
        add_header(text, header, is_expiry ? from->expiry : header->value);
    }
    sb_buf_add_text(text, "Accept: application/json");
    sb_buf_add_char(text, '\0');
    if (from->token[0]) {
        sb_buf_printf(text, "Authorization: Bearer %s", from->token);
        sb_buf_add_char(text, '\0');
    }
    sb_code_t code = from->secret ? add_signature(text, from, err) : SB_OK;
    if (code != SB_OK)
        return code;
    if (sb_buf_failed(text))
        return sb_fail(err, SB_NO_MEMORY, "make an HTTP request: out of memory");
    const char *end = text->ptr + text->len;
    for (const char *line = text->ptr; line < end; line += strlen(line) + 1)
        request->line[request->count++] = line;
    request->line[request->count] = NULL;
    return SB_OK;
}

/* ---- the answer ---- */

/* Text for people, of an RFC 9457 problem or of a body that is short and plain. */
static void add_reason(sb_http_verdict_t *out, const sb_http_result_t *result)
{
    static const char *const members[] = {"detail", "error", "message", "title", NULL};
    size_t used = strlen(out->error);
    sb_slice_t said = sb_http_result_header(result, "ce-sagaerror");
    sb_buf_t scratch = SB_BUF_INIT;
    sb_scan_value_t value;
    bool is_json = result->body.len > 0 && sb_scan_valid(result->body, NULL);
    for (int i = 0; is_json && !said.ptr && members[i]; i++)
        if (sb_scan_field(result->body, members[i], &value) && value.kind == SB_SCAN_STRING)
            said = sb_scan_string(&value, &scratch);
    if (!said.ptr && !is_json && result->body.len < 200)
        said = result->body;
    if (said.len > 0)
        (void)snprintf(out->error + used, sizeof out->error - used, ": %.*s",
                       (int)(said.len > SB_HTTP_ERROR_MAX ? SB_HTTP_ERROR_MAX : said.len), said.ptr);
    sb_buf_fini(&scratch);
}

static void say(sb_http_verdict_t *out, const sb_http_result_t *result, const char *what)
{
    (void)snprintf(out->error, sizeof out->error, "HTTP %d%s", result->status, what);
    add_reason(out, result);
}

static sb_error_class_t class_of(const sb_http_result_t *result, sb_error_class_t otherwise)
{
    sb_error_class_t said = sb_error_class_of(sb_http_result_header(result, "ce-sagaerrorclass"));
    return said == SB_CLASS_NONE ? otherwise : said;
}

/* It may have happened, or not. */
static void cannot_say(sb_http_verdict_t *out, const sb_http_result_t *result, sb_error_class_t otherwise,
                       const char *what)
{
    out->outcome = SB_OUTCOME_ERROR;
    out->error_class = class_of(result, otherwise);
    say(out, result, what);
}

/* No answer came, or not the whole of it. */
static void judge_silence(const sb_http_result_t *result, sb_http_verdict_t *out)
{
    out->outcome = SB_OUTCOME_ERROR;
    out->error_class = SB_CLASS_INFRASTRUCTURE;
    out->health = result->code == SB_NO_MEMORY || result->code == SB_STOPPED ? SB_HTTP_NOT_SAID : SB_HTTP_ILL;
    (void)snprintf(out->error, sizeof out->error, "%s",
                   result->err && result->err->message[0] ? result->err->message
                                                          : sb_code_text(result->code));
    if (result->code == SB_TOO_LARGE || result->code == SB_INVALID) {
        out->health = SB_HTTP_NOT_SAID;
        out->error_class = SB_CLASS_EXTERNAL;
        out->attention = true;
    }
}

static void judge_refusal(const sb_http_result_t *result, sb_http_verdict_t *out)
{
    sb_slice_t said = sb_http_result_header(result, "ce-sagaoutcome");
    if (!sb_slice_is(said, "failure")) {
        cannot_say(out, result, SB_CLASS_NONE, " without ce-sagaoutcome: failure");
        return;
    }
    out->outcome = SB_OUTCOME_FAILURE;
    out->error_class = class_of(result, SB_CLASS_BUSINESS);
    say(out, result, "");
}

static void judge_done(const sb_http_result_t *result, sb_http_verdict_t *out)
{
    sb_slice_t said = sb_http_result_header(result, "ce-sagaoutcome");
    out->outcome = SB_OUTCOME_SUCCESS;
    if (said.ptr && !sb_slice_is(said, "success"))
        cannot_say(out, result, SB_CLASS_EXTERNAL, " and its ce-sagaoutcome contradict each other");
}

static void judge_status(const sb_http_result_t *result, sb_http_verdict_t *out)
{
    switch (result->status) {
    case 200:
    case 201:
    case 204:
        judge_done(result, out);
        break;
    case 202:
    case 425:
        out->means = SB_HTTP_MEANS_WORKING;
        break;
    case 409:
    case 422:
        judge_refusal(result, out);
        break;
    case 429:
        out->means = SB_HTTP_MEANS_WAIT;
        out->health = SB_HTTP_NOT_SAID;
        say(out, result, " (too many requests)");
        break;
    case 408:
        cannot_say(out, result, SB_CLASS_INFRASTRUCTURE, "");
        break;
    default: /* other 2xx, 3xx, 4xx: something is set up wrong */
        cannot_say(out, result, SB_CLASS_EXTERNAL, " is not an answer of a participant");
        out->attention = true;
    }
}

void sb_http_judge(const sb_http_result_t *result, sb_http_verdict_t *out)
{
    *out = (sb_http_verdict_t){
        .means = SB_HTTP_MEANS_OUTCOME, .health = SB_HTTP_WELL, .retry_after_s = result->retry_after_s};
    if (result->code != SB_OK) {
        judge_silence(result, out);
    } else if (result->status == 503 && result->retry_after_s >= 0) {
        out->means = SB_HTTP_MEANS_WAIT; /* it paces itself: no need for the breaker to guess */
        out->health = SB_HTTP_NOT_SAID;
        say(out, result, " (not available)");
    } else if (result->status >= 500) {
        cannot_say(out, result, SB_CLASS_INFRASTRUCTURE, "");
        out->health = SB_HTTP_ILL;
    } else {
        judge_status(result, out);
    }
}
