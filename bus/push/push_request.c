/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_request.h"

#include <inttypes.h>
#include <stdio.h>

void sb_push_request_fini(sb_push_request_t *request)
{
    sb_buf_fini(&request->body);
    sb_buf_fini(&request->text);
    *request = (sb_push_request_t){.header = {NULL}};
}

/* ---- headers ---- */

/* Headers lie one after another, each ended by NUL; they are pointed at when all are there. */
static void add_header(sb_push_request_t *r, const char *name, sb_slice_t value)
{
    bool attribute = strncmp(name, "ce_", 3) == 0;
    sb_buf_printf(&r->text, "%s%s: ", attribute ? "ce-" : "", name + (attribute ? 3 : 0));
    sb_webhook_add_value(&r->text, value);
    sb_buf_add_char(&r->text, '\0');
}

static void point_at_headers(sb_push_request_t *r)
{
    size_t count = 0;
    for (size_t at = 0; at < r->text.len && count + 1 < SB_PUSH_HEADERS_MAX;
         at += strlen(r->text.ptr + at) + 1)
        r->header[count++] = r->text.ptr + at;
    r->header[count] = NULL;
    r->call.headers = r->header;
}

/* ---- the request ---- */

static sb_code_t add_structured(sb_push_request_t *r, const sb_event_t *event, sb_message_headers_t *headers,
                                const char *sequence, sb_error_t *err)
{
    sb_code_t code = sb_message_encode_structured(event, NULL, &r->body, headers, err);
    if (code != SB_OK)
        return code;
    r->body.len--; /* the closing brace */
    sb_buf_printf(&r->body, ",\"sequence\":\"%s\"}", sequence);
    r->call.body = sb_buf_slice(&r->body);
    r->call.content_type = "application/cloudevents+json; charset=UTF-8";
    if (event->traceparent.ptr)
        add_header(r, "traceparent", event->traceparent);
    return SB_OK;
}

static void add_binary(sb_push_request_t *r, const sb_event_t *event, sb_message_headers_t *headers,
                       const char *sequence)
{
    sb_message_encode(event, NULL, headers);
    for (size_t i = 0; i < headers->count; i++)
        if (strcmp(headers->header[i].name, "content-type") != 0)
            add_header(r, headers->header[i].name, headers->header[i].value);
    add_header(r, "ce_sequence", sb_slice(sequence));
    r->call.body = event->data.ptr ? event->data : SB_SLICE("");
    r->call.content_type = "application/json";
}

sb_code_t sb_push_request_make(sb_push_request_t *request, const sb_event_t *event,
                               const sb_push_endpoint_t *endpoint, bool structured, uint32_t timeout_ms,
                               int64_t wall_s, sb_error_t *err)
{
    sb_message_headers_t headers;
    char sequence[24];
    char id[SB_UUID_TEXT];
    sb_code_t code = SB_OK;
    (void)snprintf(sequence, sizeof sequence, "%" PRId64, event->seq);
    sb_buf_reset(&request->text);
    request->call =
        (sb_http_call_t){.method = "POST", .url = sb_buf_text(&endpoint->url), .timeout_ms = timeout_ms};
    if (structured)
        code = add_structured(request, event, &headers, sequence, err);
    else
        add_binary(request, event, &headers, sequence);
    if (request->replay)
        add_header(request, "sb-replay", SB_SLICE("true"));
    if (code == SB_OK)
        code = sb_webhook_sign(&request->text, sb_slice(sb_uuid_format(&event->id, id)), wall_s,
                               request->call.body, endpoint->secret, endpoint->secret_count, err);
    if (code == SB_OK && (sb_buf_failed(&request->text) || sb_buf_failed(&request->body)))
        code = sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    if (code == SB_OK)
        point_at_headers(request);
    return code;
}

/* ---- the answer ---- */

sb_push_verdict_t sb_push_verdict(int status, int retry_after_s)
{
    switch (status) {
    case 0:
    case 502:
    case 504:
        return SB_PUSH_SILENT;
    case 503:
        return retry_after_s >= 0 ? SB_PUSH_WAIT : SB_PUSH_SILENT;
    case 429:
        return SB_PUSH_WAIT;
    case 410:
        return SB_PUSH_GONE;
    case 400:
    case 409:
    case 413:
    case 415:
    case 422:
        return SB_PUSH_REJECTED;
    default:
        return status >= 200 && status < 300 ? SB_PUSH_DONE : SB_PUSH_FAILED;
    }
}
