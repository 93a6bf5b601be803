/* Appending events: POST /v1/events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/event_body.h"
#include "server/handlers.h"

#include <stdio.h>

/* A link to the stream: what a URI does not take as it is, percent-encoded. */
static void set_location(sb_request_t *request, sb_slice_t category, sb_slice_t key)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_buf_printf(&text, "/v1/streams/%.*s/", SB_SLICE_ARG(category));
    for (size_t i = 0; i < key.len; i++) {
        unsigned char c = (unsigned char)key.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-._~", c));
        sb_buf_printf(&text, plain ? "%c" : "%%%02X", c);
    }
    if (!sb_buf_failed(&text))
        (void)snprintf(request->location, sizeof request->location, "%s", sb_buf_text(&text));
    sb_buf_fini(&text);
}

static sb_code_t append_event(sb_worker_t *worker, sb_request_t *request, const sb_append_t *append,
                              sb_error_t *err)
{
    sb_append_result_t result;
    char id[SB_UUID_TEXT];
    sb_code_t code = sb_store_append(worker->store, append, &result, err);
    if (code != SB_OK)
        return code;
    if (result.outcome == SB_APPEND_CONFLICT)
        return sb_fail_at(err, SB_CONFLICT, "/expected_version", "stream %.*s/%.*s is at version %d",
                          SB_SLICE_ARG(append->category), SB_SLICE_ARG(append->key), result.version);
    sb_progress_poke(&worker->engine->progress);
    bool repeated = result.outcome == SB_APPEND_REPEATED;
    request->status = repeated ? 200 : 201;
    set_location(request, append->category, append->key);
    sb_buf_printf(&request->out, "{\"seq\":%lld,\"version\":%d,\"repeated\":%s", (long long)result.last_seq,
                  result.version, repeated ? "true" : "false");
    if (!sb_uuid_is_nil(&append->events[0].id))
        sb_buf_printf(&request->out, ",\"id\":\"%s\"", sb_uuid_format(&append->events[0].id, id));
    sb_buf_add_text(&request->out, "}\n");
    return SB_OK;
}

/* Errors of the store point into "/events/0/data/…" and at the command id; the client knows "/data/…", and
 * gave its id as a member or as a header, where no pointer leads. */
static void translate_pointer(const sb_request_t *request, sb_error_t *err)
{
    if (strcmp(err->pointer, "/command_id") == 0)
        (void)snprintf(err->pointer, sizeof err->pointer, "%s", request->idempotency_key[0] ? "" : "/id");
    static const char head[] = "/events/0";
    if (strncmp(err->pointer, head, sizeof head - 1) == 0)
        memmove(err->pointer, err->pointer + sizeof head - 1, strlen(err->pointer) - sizeof head + 2);
}

sb_code_t sb_post_event(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_event_body_t body;
    sb_code_t code = sb_event_body_read(request, &body, err);
    if (code == SB_OK)
        code = append_event(worker, request, &body.append, err);
    if (code != SB_OK)
        translate_pointer(request, err);
    sb_event_body_fini(&body);
    return code;
}
