/* Appending events: POST /v1/events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "server/body.h"
#include "server/handlers.h"

#include <stdio.h>
#include <stdlib.h>

/* Namespace of command ids that are made from a client's own: (source, id), or Idempotency-Key. */
static const sb_uuid_t command_space = {
    {0x2f, 0x1d, 0x9a, 0x44, 0x6c, 0x0b, 0x4e, 0x6e, 0x9b, 0x57, 0x5a, 0x0c, 0x3b, 0x7e, 0x11, 0xd2}};

enum {
    SPECVERSION,
    TYPE,
    SUBJECT,
    DATA,
    ID,
    SOURCE,
    TIME,
    DATASCHEMA,
    CONTENT_TYPE,
    CORRELATION,
    CAUSATION,
    TRACEPARENT,
    PARTITION_KEY,
    EXPECTED,
    MEMBERS
};

static const sb_member_t template[MEMBERS + 1] = {
    [SPECVERSION] = {"specversion", "s", {0}},
    [TYPE] = {"type", "s", {0}},
    [SUBJECT] = {"subject", "s", {0}},
    [DATA] = {"data", "*", {0}},
    [ID] = {"id", "s", {0}},
    [SOURCE] = {"source", "s", {0}},
    [TIME] = {"time", "s", {0}},
    [DATASCHEMA] = {"dataschema", "s", {0}},
    [CONTENT_TYPE] = {"datacontenttype", "s", {0}},
    [CORRELATION] = {"correlationid", "s", {0}},
    [CAUSATION] = {"causationid", "s", {0}},
    [TRACEPARENT] = {"traceparent", "s", {0}},
    [PARTITION_KEY] = {"partitionkey", "s", {0}},
    [EXPECTED] = {"expected_version", "ns", {0}},
};

/* The version at the end of "…v2"; 0 when the text has none. */
static int schema_version_of(sb_slice_t dataschema)
{
    size_t i = dataschema.len;
    while (i > 0 && dataschema.ptr[i - 1] >= '0' && dataschema.ptr[i - 1] <= '9')
        i--;
    if (i == dataschema.len || i == 0 || dataschema.ptr[i - 1] != 'v' || dataschema.len - i > 6)
        return 0;
    return (int)strtol(dataschema.ptr + i, NULL, 10);
}

static sb_code_t read_expected(const sb_member_t *member, sb_append_t *append, sb_error_t *err)
{
    append->expect = SB_EXPECT_ANY;
    if (!sb_member_is_there(member))
        return SB_OK;
    sb_slice_t text = member->value.text;
    int64_t version = 0;
    if (member->value.kind == SB_SCAN_NUMBER && sb_scan_int64(&member->value, &version) && version >= 0 &&
        version <= INT32_MAX) {
        append->expect = version == 0 ? SB_EXPECT_NONE : SB_EXPECT_EXACT;
        append->expected_version = (int)version;
        return SB_OK;
    }
    if (sb_slice_is(text, "\"none\""))
        append->expect = SB_EXPECT_NONE;
    else if (sb_slice_is(text, "\"exists\""))
        append->expect = SB_EXPECT_EXISTS;
    else if (!sb_slice_is(text, "\"any\""))
        return sb_fail_at(err, SB_INVALID, "/expected_version",
                          "a version, or any, none or exists is wanted");
    return SB_OK;
}

/* The event's id, and what makes the append idempotent: the header, or the client's (source, id). */
static sb_code_t identify(const sb_request_t *request, sb_slice_t id, sb_slice_t source, sb_event_t *event,
                          sb_append_t *append, sb_error_t *err)
{
    sb_slice_t key = sb_request_key(request);
    sb_buf_t name = SB_BUF_INIT;
    if (key.len > SB_KEY_MAX)
        return sb_fail(err, SB_TOO_LARGE, "Idempotency-Key is longer than %u bytes", SB_KEY_MAX);
    if (key.len > 0) {
        sb_buf_add_text(&name, "key ");
        sb_buf_add_slice(&name, key);
    } else if (id.ptr) { /* with the length, no two pairs look alike */
        sb_buf_printf(&name, "%zu ", source.len);
        sb_buf_add_slice(&name, source);
        sb_buf_add_slice(&name, id);
    }
    bool failed = sb_buf_failed(&name);
    if (!failed && name.len > 0)
        append->command_id = sb_uuid_v5(&command_space, name.ptr, name.len);
    sb_buf_fini(&name);
    if (id.ptr && !sb_uuid_parse(id.ptr, id.len, &event->id))
        event->id = append->command_id;
    return failed ? sb_fail(err, SB_NO_MEMORY, "append: out of memory") : SB_OK;
}

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

static sb_code_t fill_event(const sb_request_t *request, const sb_member_t *member, sb_buf_t *scratch,
                            sb_event_t *event, sb_append_t *append, sb_error_t *err)
{
    sb_slice_t text[MEMBERS];
    for (int i = 0; i < MEMBERS; i++)
        text[i] = i == DATA || i == EXPECTED ? SB_SLICE_NONE : sb_member_text(&member[i], &scratch[i]);
    if (!text[TYPE].ptr || !sb_member_is_there(&member[DATA]))
        return sb_fail_at(err, SB_INVALID, text[TYPE].ptr ? "/data" : "/type",
                          "an event needs type and data");
    if (!text[SUBJECT].ptr)
        return sb_fail_at(err, SB_INVALID, "/subject", "subject is missing: the key of the stream");
    if (text[SPECVERSION].ptr && !sb_slice_is(text[SPECVERSION], "1.0"))
        return sb_fail_at(err, SB_UNSUPPORTED, "/specversion", "specversion 1.0 is what we read");
    *event = (sb_event_t){
        .type = text[TYPE],
        .schema_version = schema_version_of(text[DATASCHEMA]),
        .source = text[SOURCE],
        .subject = text[SUBJECT],
        .correlation_id = text[CORRELATION].ptr ? text[CORRELATION] : sb_slice(request->request_id),
        .causation_id = text[CAUSATION],
        .traceparent = text[TRACEPARENT],
        .partition_key = text[PARTITION_KEY],
        .data = member[DATA].value.text,
    };
    if (!event->traceparent.ptr && request->traceparent[0])
        event->traceparent = sb_slice(request->traceparent);
    if (text[TIME].ptr && !sb_time_parse(text[TIME], &event->time_us))
        return sb_fail_at(err, SB_INVALID, "/time", "time is not RFC 3339, as 2026-11-21T05:19:35Z");
    *append = (sb_append_t){
        .category = sb_event_category(event->type), .key = event->subject, .events = event, .count = 1};
    sb_code_t code = identify(request, text[ID], text[SOURCE], event, append, err);
    return code == SB_OK ? read_expected(&member[EXPECTED], append, err) : code;
}

sb_code_t sb_post_event(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    sb_member_t member[MEMBERS + 1];
    sb_buf_t scratch[MEMBERS];
    sb_event_t event;
    sb_append_t append;
    memcpy(member, template, sizeof member);
    memset(scratch, 0, sizeof scratch);
    sb_code_t code = sb_body_read(request, member, err);
    if (code == SB_OK)
        code = fill_event(request, member, scratch, &event, &append, err);
    if (code == SB_OK)
        code = append_event(worker, request, &append, err);
    if (code != SB_OK)
        translate_pointer(request, err);
    for (int i = 0; i < MEMBERS; i++)
        sb_buf_fini(&scratch[i]);
    return code;
}
