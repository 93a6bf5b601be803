/* Appending many events at once: POST /v1/events with a CloudEvents batch. All of them, or none.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/body.h"
#include "server/event_body.h"
#include "server/handlers.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX 1000

typedef struct batch {
    sb_event_body_t *body;
    sb_append_t *append;
    sb_append_result_t *result;
    size_t count;
    sb_uuid_t command_id; /* nil: none */
} batch_t;

static void fini(batch_t *batch)
{
    for (size_t i = 0; batch->body && i < batch->count; i++)
        sb_event_body_fini(&batch->body[i]);
    free(batch->body);
    free(batch->append);
    free(batch->result);
}

/* Puts the event's number in front of a pointer into it. */
static sb_code_t at_event(sb_error_t *err, sb_code_t code, size_t i)
{
    char inside[sizeof err->pointer];
    (void)snprintf(inside, sizeof inside, "%s", err->pointer);
    (void)snprintf(err->pointer, sizeof err->pointer, "/%zu%s", i, inside);
    return code;
}

/* ---- reading ---- */

static size_t count_items(sb_slice_t array)
{
    size_t at = 0, count = 0;
    sb_scan_value_t name, value;
    while (sb_scan_next(array, &at, &name, &value))
        count++;
    return count;
}

static sb_code_t make_room(batch_t *batch, size_t count, sb_error_t *err)
{
    if (count == 0 || count > EVENTS_MAX) {
        sb_code_t why = count ? SB_TOO_LARGE : SB_INVALID;
        (void)sb_fail(err, why, "a batch has 1 to %d events", EVENTS_MAX);
        return why;
    }
    batch->body = calloc(count, sizeof *batch->body);
    batch->append = calloc(count, sizeof *batch->append);
    batch->result = calloc(count, sizeof *batch->result);
    if (batch->body && batch->append && batch->result)
        return SB_OK;
    (void)sb_fail(err, SB_NO_MEMORY, "append: out of memory");
    return SB_NO_MEMORY; /* and not what sb_fail gives, which static analysis cannot see to be the same */
}

static sb_code_t read_items(const sb_request_t *request, sb_slice_t array, batch_t *batch, sb_error_t *err)
{
    size_t at = 0;
    sb_scan_value_t name, value;
    sb_code_t code = SB_OK;
    while (code == SB_OK && sb_scan_next(array, &at, &name, &value)) {
        size_t i = batch->count++;
        if (value.kind != SB_SCAN_OBJECT)
            code = sb_fail_at(err, SB_INVALID, "", "event %zu is not a JSON object", i);
        else
            code = sb_event_body_read_item(request, value.text, &batch->body[i], err);
        if (code != SB_OK)
            return at_event(err, code, i);
    }
    return code;
}

/* What the batch as a whole is known by: the header, or the ids of all its events. */
static bool name_batch(sb_slice_t key, const batch_t *batch, sb_buf_t *out)
{
    sb_buf_add_text(out, "batch ");
    sb_buf_add_slice(out, key);
    for (size_t i = 0; key.len == 0 && i < batch->count; i++) {
        const sb_uuid_t *id = &batch->body[i].append.command_id;
        if (sb_uuid_is_nil(id))
            return false;
        sb_buf_add(out, id->byte, sizeof id->byte);
    }
    return true;
}

/* An event without an id gets one: under a key the same each time. */
static void name_event(sb_event_body_t *body, sb_slice_t key, size_t i)
{
    sb_buf_t name = SB_BUF_INIT;
    if (sb_uuid_is_nil(&body->append.command_id) && key.len > 0) {
        sb_buf_printf(&name, "item %zu ", i);
        sb_buf_add_slice(&name, key);
        body->event.id = sb_event_body_name(sb_buf_slice(&name));
    }
    sb_buf_fini(&name);
    body->append.command_id = (sb_uuid_t)SB_UUID_NIL; /* of the whole call */
}

static sb_code_t refuse_twice(const batch_t *batch, sb_error_t *err)
{
    for (size_t i = 1; i < batch->count; i++)
        for (size_t k = 0; k < i; k++) {
            const sb_uuid_t *id = &batch->body[i].append.command_id;
            if (!sb_uuid_is_nil(id) && sb_uuid_equal(id, &batch->body[k].append.command_id))
                return at_event(err, sb_fail_at(err, SB_INVALID, "/id", "the event is event %zu, too", k), i);
        }
    return SB_OK;
}

static sb_code_t identify(const sb_request_t *request, batch_t *batch, sb_error_t *err)
{
    sb_slice_t key = sb_request_key(request);
    sb_buf_t name = SB_BUF_INIT;
    if (key.len > SB_KEY_MAX)
        return sb_fail(err, SB_TOO_LARGE, "Idempotency-Key is longer than %u bytes", SB_KEY_MAX);
    sb_code_t code = refuse_twice(batch, err);
    bool named = name_batch(key, batch, &name);
    if (code == SB_OK && sb_buf_failed(&name))
        code = sb_fail(err, SB_NO_MEMORY, "append: out of memory");
    else if (code == SB_OK && named)
        batch->command_id = sb_event_body_name(sb_buf_slice(&name));
    sb_buf_fini(&name);
    for (size_t i = 0; i < batch->count; i++) {
        name_event(&batch->body[i], key, i);
        batch->append[i] = batch->body[i].append;
    }
    return code;
}

static sb_code_t read_batch(const sb_request_t *request, batch_t *batch, sb_error_t *err)
{
    sb_slice_t array = SB_SLICE("");
    sb_code_t code = sb_body_value(request, SB_SCAN_ARRAY, &array, err);
    if (code == SB_OK)
        code = make_room(batch, count_items(array), err);
    if (code == SB_OK)
        code = read_items(request, array, batch, err);
    return code == SB_OK ? identify(request, batch, err) : code;
}

/* ---- answering ---- */

static sb_code_t refuse_conflict(const batch_t *batch, sb_error_t *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        const sb_append_t *append = &batch->append[i];
        if (batch->result[i].outcome == SB_APPEND_CONFLICT)
            return at_event(err,
                            sb_fail_at(err, SB_CONFLICT, "/expected_version",
                                       "nothing was appended: stream %.*s/%.*s is at version %d",
                                       SB_SLICE_ARG(append->category), SB_SLICE_ARG(append->key),
                                       batch->result[i].version),
                            i);
    }
    return SB_OK;
}

static void write_event(const batch_t *batch, size_t i, sb_buf_t *out)
{
    char id[SB_UUID_TEXT];
    const sb_append_t *append = &batch->append[i];
    const sb_append_result_t *result = &batch->result[i];
    sb_buf_printf(out, "%s{\"id\":\"%s\",\"stream\":{\"category\":\"%.*s\",\"key\":", i ? "," : "",
                  sb_uuid_format(&append->events[0].id, id), SB_SLICE_ARG(append->category));
    sb_buf_add_json(out, append->key);
    sb_buf_printf(out, "},\"seq\":%lld,\"version\":%d,\"repeated\":%s}", (long long)result->last_seq,
                  result->version, result->outcome == SB_APPEND_REPEATED ? "true" : "false");
}

/* The store points into "/appends/3/events/0/data/…"; the client knows "/3/data/…". */
static void translate_pointer(sb_error_t *err)
{
    static const char head[] = "/appends/", tail[] = "/events/0";
    if (strcmp(err->pointer, "/command_id") == 0)
        err->pointer[0] = '\0';
    if (strncmp(err->pointer, head, sizeof head - 1) != 0)
        return;
    size_t digits = strcspn(err->pointer + sizeof head - 1, "/");
    char *rest = err->pointer + sizeof head - 1 + digits;
    if (strncmp(rest, tail, sizeof tail - 1) == 0)
        memmove(rest, rest + sizeof tail - 1, strlen(rest) - sizeof tail + 2);
    memmove(err->pointer + 1, err->pointer + sizeof head - 1, strlen(err->pointer) - sizeof head + 2);
}

sb_code_t sb_post_event_batch(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    batch_t batch = {.count = 0};
    uint64_t era = sb_progress_era(&worker->engine->progress);
    sb_code_t code = read_batch(request, &batch, err);
    if (code == SB_OK) {
        code = sb_store_append_many(worker->store, batch.append, batch.count, &batch.command_id, batch.result,
                                    err);
        if (code != SB_OK && err)
            translate_pointer(err);
    }
    if (code == SB_OK)
        code = refuse_conflict(&batch, err);
    if (code == SB_OK) {
        for (size_t i = 0; i < batch.count; i++)
            sb_progress_appended(&worker->engine->progress, era, &batch.result[i], batch.append[i].count);
        request->status = batch.result[0].outcome == SB_APPEND_REPEATED ? 200 : 201;
        sb_buf_add_text(&request->out, "{\"items\":[");
        for (size_t i = 0; i < batch.count; i++)
            write_event(&batch, i, &request->out);
        sb_buf_add_text(&request->out, "]}\n");
    }
    fini(&batch);
    return code;
}
