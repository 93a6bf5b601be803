/* Appending events: POST /v1/events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/body.h"
#include "server/event_body.h"
#include "server/handlers.h"
#include "server/problem.h"

#include <stdio.h>
#include <stdlib.h>

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

/* The answer to an append that went in, or did in its first try. */
static sb_code_t answer(sb_engine_t *engine, uint64_t era, sb_request_t *request, const sb_append_t *append,
                        const sb_append_result_t *result, sb_error_t *err)
{
    char id[SB_UUID_TEXT];
    if (result->outcome == SB_APPEND_CONFLICT)
        return sb_fail_at(err, SB_CONFLICT, "/expected_version", "stream %.*s/%.*s is at version %d",
                          SB_SLICE_ARG(append->category), SB_SLICE_ARG(append->key), result->version);
    sb_progress_appended(&engine->progress, era, result, append->count);
    bool repeated = result->outcome == SB_APPEND_REPEATED;
    request->status = repeated ? 200 : 201;
    set_location(request, append->category, append->key);
    sb_buf_printf(&request->out, "{\"id\":\"%s\",\"stream\":{\"category\":\"%.*s\",\"key\":",
                  sb_uuid_format(&append->events[0].id, id), SB_SLICE_ARG(append->category));
    sb_buf_add_json(&request->out, append->key);
    sb_buf_printf(&request->out, "},\"seq\":%lld,\"version\":%d,\"repeated\":%s}\n",
                  (long long)result->last_seq, result->version, repeated ? "true" : "false");
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

static void refuse(sb_request_t *request, sb_error_t *err)
{
    translate_pointer(request, err);
    sb_problem(request, err);
}

/* An append on its way. */
typedef struct call {
    sb_engine_t *engine;
    uint64_t era; /* of the progress */
    sb_request_t *request;
    sb_event_body_t body;
} call_t;

static void end_call(call_t *call)
{
    sb_event_body_fini(&call->body);
    free(call);
}

/* On a thread of the appender, which has the request in hand meanwhile. */
static void on_appended(void *context, sb_code_t code, const sb_append_result_t *result,
                        const sb_error_t *why)
{
    call_t *call = context;
    sb_request_t *request = call->request;
    sb_error_t err = SB_ERROR_INIT;
    if (code == SB_OK)
        code = answer(call->engine, call->era, request, &call->body.append, result, &err);
    else
        err = *why;
    if (code != SB_OK)
        refuse(request, &err);
    end_call(call);
    sb_http_done(request);
}

/* On SB_OK the callback will answer; else call is the caller's. */
static sb_code_t submit(call_t *call, bool *unknown, sb_error_t *err)
{
    sb_code_t code = sb_event_body_read(call->request, &call->body, err);
    return code == SB_OK
               ? sb_appender_try(call->engine->appender, &call->body.append, on_appended, call, unknown, err)
               : code;
}

void sb_post_event(sb_engine_t *engine, sb_request_t *request)
{
    sb_error_t err = SB_ERROR_INIT;
    bool unknown = sb_body_is_batch(request); /* a transaction of its own */
    sb_code_t code = SB_NO_MEMORY;
    call_t *call = unknown ? NULL : calloc(1, sizeof *call);
    if (unknown) {
        code = SB_OK;
    } else if (!call) {
        (void)sb_fail(&err, code, "append: out of memory");
    } else {
        call->engine = engine;
        call->era = sb_progress_era(&engine->progress);
        call->request = request;
        code = submit(call, &unknown, &err);
        if (code == SB_OK)
            return;
        end_call(call);
    }
    if (unknown) /* a worker looks whether it was registered meanwhile */
        code = sb_workers_push(engine->workers, request, &err);
    if (code != SB_OK) {
        refuse(request, &err);
        sb_http_done(request);
    }
}

sb_code_t sb_post_event_of_unknown_type(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_event_body_t body;
    sb_append_result_t result;
    if (sb_body_is_batch(request))
        return sb_post_event_batch(worker, request, err);
    uint64_t era = sb_progress_era(&worker->engine->progress);
    sb_code_t code = sb_event_body_read(request, &body, err);
    if (code == SB_OK)
        code = sb_store_append(worker->store, &body.append, &result, err);
    if (code == SB_OK)
        code = answer(worker->engine, era, request, &body.append, &result, err);
    if (code != SB_OK)
        translate_pointer(request, err);
    sb_event_body_fini(&body);
    return code;
}
