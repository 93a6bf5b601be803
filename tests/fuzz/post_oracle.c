/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/post_oracle.h"

#include "server/event_body.h"

#include <jansson.h>
#include <stdlib.h>

/* A member that is absent or null: what stands in for it. */
static bool agrees(const json_t *object, const char *name, sb_slice_t have, const char *otherwise)
{
    const json_t *member = json_object_get(object, name);
    if (!member || json_is_null(member))
        return otherwise ? sb_slice_is(have, otherwise) : !have.ptr;
    return json_is_string(member) && have.ptr && have.len == json_string_length(member) &&
           memcmp(have.ptr, json_string_value(member), have.len) == 0;
}

static bool expectation_agrees(const json_t *object, const sb_append_t *append)
{
    const json_t *member = json_object_get(object, "expected_version");
    const char *text = json_string_value(member);
    if (json_is_integer(member))
        return json_integer_value(member) == 0 ? append->expect == SB_EXPECT_NONE
                                               : append->expect == SB_EXPECT_EXACT &&
                                                     append->expected_version == json_integer_value(member);
    if (text && strcmp(text, "none") == 0)
        return append->expect == SB_EXPECT_NONE;
    if (text && strcmp(text, "exists") == 0)
        return append->expect == SB_EXPECT_EXISTS;
    return append->expect == SB_EXPECT_ANY &&
           (!member || json_is_null(member) || strcmp(text ? text : "", "any") == 0);
}

static bool data_agrees(const json_t *object, sb_slice_t data)
{
    json_error_t fault;
    json_t *have = json_loadb(data.ptr, data.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    bool agrees_with = have && json_equal(have, json_object_get(object, "data"));
    json_decref(have);
    return agrees_with;
}

static const char *compare(const sb_event_body_t *body, const json_t *object)
{
    const sb_event_t *event = &body->event;
    if (!agrees(object, "type", event->type, NULL) || !agrees(object, "subject", event->subject, NULL))
        return "type or subject";
    if (!agrees(object, "source", event->source, NULL) ||
        !agrees(object, "causationid", event->causation_id, NULL) ||
        !agrees(object, "partitionkey", event->partition_key, NULL))
        return "source, causation or partition key";
    if (!agrees(object, "correlationid", event->correlation_id, "request-1") ||
        !agrees(object, "traceparent", event->traceparent, "trace-1"))
        return "correlation or trace";
    if (!data_agrees(object, event->data))
        return "data";
    if (!expectation_agrees(object, &body->append))
        return "the expected version";
    if (sb_uuid_is_nil(&body->append.command_id) != !json_is_string(json_object_get(object, "id")))
        return "whether there is a command id";
    return event->schema_version < 0 ? "a negative version" : NULL;
}

static const char *check(const sb_request_t *request, const sb_event_body_t *body, sb_code_t code,
                         const sb_error_t *err)
{
    json_error_t fault;
    const char *differs = NULL;
    json_t *object = json_loadb(request->body.ptr, request->body.len, JSON_ALLOW_NUL, &fault);
    enum json_error_code kind = object ? json_error_unknown : json_error_code(&fault);
    /* limits of jansson's own */
    bool unknown = kind == json_error_numeric_overflow || kind == json_error_stack_overflow ||
                   kind == json_error_null_byte_in_key || kind == json_error_out_of_memory;
    if (code == SB_OK && !object && !unknown)
        differs = "accepted, but jansson refuses it";
    else if (code == SB_OK && object)
        differs = compare(body, object);
    else if (code != SB_OK && err->pointer[0] && err->pointer[0] != '/')
        differs = "a pointer that is none";
    json_decref(object);
    return differs;
}

/* The id that makes an append idempotent must not depend on anything but the body. */
static const char *read_again(const sb_request_t *request, const sb_event_body_t *first, sb_code_t code)
{
    sb_event_body_t again;
    const char *differs = NULL;
    if (sb_event_body_read(request, &again, NULL) != code)
        differs = "the second time, from the first";
    else if (code == SB_OK && !sb_uuid_equal(&again.append.command_id, &first->append.command_id))
        differs = "the command id, from the first";
    sb_event_body_fini(&again);
    return differs;
}

const char *sb_post_fault(sb_slice_t text, sb_code_t *code)
{
    sb_request_t *request = calloc(1, sizeof *request);
    sb_event_body_t body;
    sb_error_t err = SB_ERROR_INIT;
    if (!request)
        return NULL;
    /* exactly as long as the body, so that one byte too many is seen */
    char *exact = malloc(text.len ? text.len : 1);
    if (exact && text.len)
        memcpy(exact, text.ptr, text.len);
    request->body = (sb_buf_t){.ptr = exact, .len = exact ? text.len : 0};
    memcpy(request->request_id, "request-1", sizeof "request-1");
    memcpy(request->traceparent, "trace-1", sizeof "trace-1");
    sb_code_t got = sb_event_body_read(request, &body, &err);
    const char *fault = NULL;
    if (got != SB_OK && got != SB_INVALID && got != SB_UNSUPPORTED && got != SB_NO_MEMORY)
        fault = "a code that is not promised";
    else if ((got == SB_OK) != (err.code == SB_OK))
        fault = "an error that is not told";
    else if (exact && got != SB_NO_MEMORY)
        fault = check(request, &body, got, &err);
    if (!fault && got != SB_NO_MEMORY)
        fault = read_again(request, &body, got);
    sb_event_body_fini(&body);
    free(exact);
    free(request);
    if (code)
        *code = got;
    return fault;
}
