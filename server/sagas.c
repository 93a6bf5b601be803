/* Starting, showing and steering sagas.
 *
 * A start stays on the HTTP loop: it is handed to the orchestrator, whose callback comes back as a note on
 * the loop. The call outlives its request when the client goes away, and ends only when no callback can come
 * any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/saga_number.h"
#include "saga/query/query.h"
#include "server/body.h"
#include "server/handlers.h"
#include "server/problem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- POST /v1/sagas ---- */

/* Who goes on with a start: the orchestrator's thread moves it from STARTING on, but for IMPATIENT, which is
 * the loop's. */
typedef enum phase {
    STARTING,
    IMPATIENT, /* the client waits no longer: the start's answer is to be passed on at once */
    WATCHING,  /* it is started; its end, or the client's patience, comes next */
    NOTED      /* the start's answer is on its way to the loop */
} phase_t;

typedef struct start_call {
    sb_engine_t *engine;
    sb_request_t *request; /* NULL once it was answered */
    sb_note_t note;        /* from the orchestrator's thread to the loop */
    sb_http_timer_t *timer;
    int64_t wait_ms; /* 0: answer the start itself */
    _Atomic phase_t phase;
    int status;   /* NOTED: 0: the start failed */
    sb_uuid_t id; /* WATCHING: the saga that is waited for */
    bool noted;   /* its end, or that it will not be heard here: the note is posted and frees the call */
    bool ended;
    sb_saga_answer_t answer;
    sb_error_t *err;      /* why the start failed, owned; NULL: there was no memory for it */
    sb_slice_t type, key; /* in text; key: absent when there is none */
    char text[];
} start_call_t;

static void write_brief(start_call_t *call)
{
    char id[SB_UUID_TEXT];
    sb_buf_t *out = &call->request->out;
    (void)sb_uuid_format(&call->answer.id, id);
    (void)snprintf(call->request->location, sizeof call->request->location, "/v1/sagas/%s", id);
    sb_buf_add_text(out, "{\"id\":\"");
    sb_buf_add_text(out, id);
    sb_buf_add_text(out, "\",\"type\":");
    sb_buf_add_json(out, call->type);
    sb_buf_add_text(out, ",\"key\":");
    sb_buf_add_json(out, call->key.ptr ? call->key : sb_slice(id));
    sb_buf_add_text(out, ",\"status\":\"");
    sb_buf_add_text(out, sb_saga_status_name(call->answer.status));
    sb_buf_add_text(out, call->answer.repeated ? "\",\"repeated\":true" : "\",\"repeated\":false");
    sb_buf_add_text(out, ",\"links\":{\"self\":\"/v1/sagas/");
    sb_buf_add_text(out, id);
    sb_buf_add_text(out, "\"}}\n");
}

static void answer_failed(const start_call_t *call)
{
    sb_error_t err = SB_ERROR_INIT;
    if (!call->err)
        (void)sb_fail(&err, call->answer.code, "%s", sb_code_text(call->answer.code));
    sb_problem(call->request, call->err ? call->err : &err);
}

static void answer_request(start_call_t *call, int status)
{
    if (!call->request)
        return;
    if (status == 0) {
        answer_failed(call);
    } else {
        call->request->status = status;
        write_brief(call);
    }
    sb_http_done(call->request);
    call->request = NULL;
}

static void free_call(void *context)
{
    start_call_t *call = context;
    sb_http_timer_free(call->timer);
    free(call->err);
    free(call);
}

/* On the orchestrator's thread. */
static void wake_loop(start_call_t *call, void (*fn)(void *context))
{
    call->note.fn = fn;
    call->note.context = call;
    sb_http_post(call->engine->http, &call->note); /* the orchestrator says when that was all */
}

static void over_on_loop(void *context)
{
    start_call_t *call = context;
    answer_request(call, call->ended ? 200 : 202); /* it is started, whatever ended the waiting */
    free_call(call);
}

static void on_over(void *context, const sb_saga_answer_t *answer)
{
    start_call_t *call = context;
    call->noted = true;
    call->ended = answer->code == SB_OK;
    if (call->ended)
        call->answer.status = answer->status;
    wake_loop(call, over_on_loop);
}

/* The client's patience is over; the saga goes on. Once unwatched, the callback has run or never will. */
static void on_patience_over(void *context)
{
    start_call_t *call = context;
    phase_t phase = STARTING;
    if (atomic_compare_exchange_strong(&call->phase, &phase, IMPATIENT) || phase != WATCHING)
        return;
    sb_orchestrator_unwatch(call->engine->orchestrator, &call->id, call);
    if (call->noted)
        return;
    answer_request(call, 202);
    free_call(call);
}

static bool status_is_over(sb_saga_status_t status)
{
    return status == SB_SAGA_COMPLETED || status == SB_SAGA_COMPENSATED || status == SB_SAGA_FAILED;
}

static void started_on_loop(void *context)
{
    start_call_t *call = context;
    answer_request(call, call->status);
    free_call(call);
}

/* True: what comes next is the saga's end or the client's patience's. Both may free the call. */
static bool watch_end(start_call_t *call)
{
    sb_error_t ignored = SB_ERROR_INIT;
    phase_t phase = STARTING;
    call->id = call->answer.id;
    if (sb_orchestrator_watch_here(call->engine->orchestrator, &call->id, on_over, call, &ignored) != SB_OK)
        return false;
    if (atomic_compare_exchange_strong(&call->phase, &phase, WATCHING))
        return true;
    sb_orchestrator_unwatch(call->engine->orchestrator, &call->id, call);
    return false;
}

/* On the orchestrator's thread: who waits for the end is not told of the start. */
static void on_started(void *context, const sb_saga_answer_t *answer)
{
    start_call_t *call = context;
    call->answer = *answer;
    call->answer.err = NULL;
    if (answer->code != SB_OK) {
        call->err = answer->err ? malloc(sizeof *call->err) : NULL;
        if (call->err)
            *call->err = *answer->err;
        call->status = 0;
    } else if (call->wait_ms == 0 || status_is_over(answer->status))
        call->status = answer->repeated ? 200 : 201;
    else if (watch_end(call))
        return;
    else
        call->status = 202; /* started all the same */
    atomic_store(&call->phase, NOTED);
    wake_loop(call, started_on_loop);
}

static sb_code_t read_wait(const sb_engine_t *engine, const sb_request_t *request, int64_t *out,
                           sb_error_t *err)
{
    int64_t wait_max = 0;
    sb_code_t code = sb_config_get_int(engine->config, "http.wait_max_ms", 0, 3600000, &wait_max, err);
    return code == SB_OK ? sb_request_query_wait(request, wait_max, out, err) : code;
}

static sb_code_t choose_key(const sb_request_t *request, sb_slice_t key, char out[SB_KEY_MAX + 1],
                            sb_error_t *err)
{
    sb_slice_t header = sb_request_key(request);
    if (key.ptr && header.len && !sb_slice_equal(key, header))
        return sb_fail_at(err, SB_INVALID, "/key",
                          "key and the header Idempotency-Key differ; give one, or both alike");
    sb_slice_t chosen = key.ptr ? key : header;
    if (key.ptr && key.len == 0)
        return sb_fail_at(err, SB_INVALID, "/key", "key is empty");
    if (chosen.len > SB_KEY_MAX)
        return sb_fail_at(err, SB_TOO_LARGE, "/key", "key has %zu bytes, %u are the limit", chosen.len,
                          SB_KEY_MAX);
    if (memchr(chosen.ptr, '\0', chosen.len)) /* cut there, it would be another saga's key */
        return sb_fail_at(err, SB_INVALID, "/key", "key has a NUL character");
    (void)snprintf(out, SB_KEY_MAX + 1, "%.*s", SB_SLICE_ARG(chosen));
    return SB_OK;
}

static char *put_text(char *at, sb_slice_t text, sb_slice_t *out)
{
    memcpy(at, text.ptr, text.len);
    *out = (sb_slice_t){at, text.len};
    return at + text.len;
}

/* NULL: no memory. Its strings take what they need: their limits would make it two kilobytes, for each start.
 */
static start_call_t *new_call(sb_engine_t *engine, sb_request_t *request, sb_slice_t type, sb_slice_t key,
                              int64_t wait_ms)
{
    start_call_t *call = calloc(1, sizeof *call + type.len + key.len);
    if (!call)
        return NULL;
    call->engine = engine;
    call->request = request;
    call->wait_ms = wait_ms;
    char *at = put_text(call->text, type, &call->type);
    if (key.len)
        (void)put_text(at, key, &call->key);
    if (wait_ms > 0)
        call->timer = sb_http_timer_new(engine->http, wait_ms, on_patience_over, call);
    if (wait_ms == 0 || call->timer)
        return call;
    free_call(call);
    return NULL;
}

/* Hands the start over; then a callback comes. */
static sb_code_t hand_over(sb_engine_t *engine, sb_request_t *request, const sb_saga_start_t *start,
                           int64_t wait_ms, sb_error_t *err)
{
    start_call_t *call = new_call(engine, request, start->type, start->key, wait_ms);
    if (!call)
        return sb_fail(err, SB_NO_MEMORY, "start a saga: out of memory");
    sb_code_t code = sb_orchestrator_start(engine->orchestrator, start, on_started, call, err);
    if (code != SB_OK)
        free_call(call);
    return code;
}

static sb_code_t start_saga(sb_engine_t *engine, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"wait", NULL};
    enum { TYPE, KEY, INPUT, CORRELATION };
    sb_member_t member[] = {
        {"type", "s", {0}}, {"key", "s", {0}}, {"input", "o", {0}}, {"correlation_id", "s", {0}}, {0}};
    sb_buf_t scratch[3] = {SB_BUF_INIT, SB_BUF_INIT, SB_BUF_INIT};
    char key[SB_KEY_MAX + 1] = "";
    int64_t wait_ms = 0;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = read_wait(engine, request, &wait_ms, err);
    if (code == SB_OK)
        code = sb_body_read(request, member, err);
    if (code == SB_OK && !sb_member_is_there(&member[TYPE]))
        code = sb_fail_at(err, SB_INVALID, "/type", "type is missing: the name of the saga's definition");
    if (code == SB_OK && !sb_member_is_there(&member[INPUT]))
        code = sb_fail_at(err, SB_INVALID, "/input", "input is missing: a JSON object");
    if (code == SB_OK)
        code = choose_key(request, sb_member_text(&member[KEY], &scratch[0]), key, err);
    if (code == SB_OK) {
        sb_saga_start_t start = {
            .type = sb_member_text(&member[TYPE], &scratch[1]),
            .key = key[0] ? sb_slice(key) : SB_SLICE_NONE,
            .input = member[INPUT].value.text,
            .correlation_id = sb_member_text(&member[CORRELATION], &scratch[2]),
            .traceparent = request->traceparent[0] ? sb_slice(request->traceparent) : SB_SLICE_NONE,
            .more = true,
        };
        if (!start.correlation_id.ptr)
            start.correlation_id = sb_slice(request->request_id);
        code = hand_over(engine, request, &start, wait_ms, err);
    }
    for (int i = 0; i < 3; i++)
        sb_buf_fini(&scratch[i]);
    return code;
}

static void wake_orchestrator(void *context)
{
    const sb_engine_t *engine = context;
    sb_orchestrator_wake(engine->orchestrator);
}

void sb_post_saga(sb_engine_t *engine, sb_request_t *request)
{
    sb_error_t err = SB_ERROR_INIT;
    if (start_saga(engine, request, &err) == SB_OK) {
        sb_http_after_round(engine->http, wake_orchestrator, engine);
    } else { /* nothing was queued: no callback comes */
        sb_problem(request, &err);
        sb_http_done(request);
    }
}

/* ---- reading ---- */

sb_code_t sb_request_saga(const sb_request_t *request, sb_uuid_t *id, sb_error_t *err)
{
    int64_t number;
    if (!sb_uuid_parse(request->param[0].ptr, request->param[0].len, id) || !sb_saga_number_of(id, &number))
        return sb_fail(err, SB_NOT_FOUND, "no saga has the id %.*s", SB_SLICE_ARG(request->param[0]));
    return SB_OK;
}

sb_code_t sb_get_saga(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"history", NULL};
    sb_uuid_t id;
    const char *history = sb_request_query(request, "history");
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_request_saga(request, &id, err);
    if (code != SB_OK)
        return code;
    return sb_saga_show(worker->pg, worker->engine->catalog, &id, !history || strcmp(history, "false") != 0,
                        &request->out, err);
}

sb_code_t sb_get_saga_explanation(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {NULL};
    sb_uuid_t id;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_request_saga(request, &id, err);
    if (code != SB_OK)
        return code;
    return sb_saga_explain(worker->pg, worker->engine->catalog, &id, sb_wall_us(), &request->out, err);
}

/* The page of the one saga that has the business key, with its steps; an empty one when there is none. */
static sb_code_t find_by_key(sb_worker_t *worker, sb_request_t *request, const char *type, const char *key,
                             sb_error_t *err)
{
    sb_uuid_t id;
    sb_code_t code = sb_saga_find(worker->pg, sb_slice(type), sb_slice(key), &id, err);
    sb_buf_add_text(&request->out, "{\"items\":[");
    if (code == SB_OK)
        code = sb_saga_show(worker->pg, worker->engine->catalog, &id, false, &request->out, err);
    else if (code == SB_NOT_FOUND)
        code = SB_OK;
    sb_buf_add_text(&request->out, "],\"next_cursor\":null}");
    return code;
}

sb_code_t sb_get_sagas(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {
        "status",         "type",        "key",   "attention",   "paused",
        "step",           "participant", "error", "fingerprint", "started_after",
        "started_before", "sort",        "limit", "cursor",      NULL};
    const char *type = sb_request_query(request, "type");
    const char *key = sb_request_query(request, "key");
    const char *cursor = sb_request_query(request, "cursor");
    const char *sort = sb_request_query(request, "sort");
    sb_saga_page_t page = {.cursor = sb_slice(cursor)};
    int64_t limit = 0;
    sb_code_t code = sb_request_query_only(request, query, err);
    for (int i = 0; code == SB_OK && sb_saga_filter_names[i]; i++) {
        const char *value = sb_request_query(request, sb_saga_filter_names[i]);
        if (value)
            code = sb_saga_filter_set(&page.filter, sb_saga_filter_names[i], sb_slice(value), err);
    }
    if (code == SB_OK)
        code = sb_request_query_int(request, "limit", 1, 500, 50, &limit, err);
    if (code == SB_OK && sort && strcmp(sort, "oldest") != 0 && strcmp(sort, "newest") != 0)
        code = sb_fail(err, SB_INVALID, "query parameter sort=%s: newest or oldest is wanted", sort);
    if (code != SB_OK)
        return code;
    sb_saga_filter_t more = page.filter;
    more.type = more.key = SB_SLICE_NONE;
    if (key && type && !sb_saga_filter_asks(&more))
        return find_by_key(worker, request, type, key, err);
    page.oldest_first = sort && strcmp(sort, "oldest") == 0;
    page.limit = (int)limit;
    return sb_saga_list(worker->pg, &page, &request->out, err);
}
