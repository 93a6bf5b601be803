/* SPDX-License-Identifier: Apache-2.0 */
#include "server/event_body.h"

#include "base/clock.h"
#include "base/hex.h"
#include "events/catalog.h"
#include "server/body.h"

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
_Static_assert((int)MEMBERS == SB_EVENT_BODY_MEMBERS, "a scratch a member");

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

sb_uuid_t sb_event_body_name(sb_slice_t text)
{
    return sb_uuid_v5(&command_space, text.ptr, text.len);
}

/* The event's id, and what makes the append idempotent: the header, or the client's (source, id). An event
 * without an id gets one here, so that the answer names it: under a key the same each time. */
static sb_code_t identify(sb_slice_t key, sb_slice_t id, sb_slice_t source, sb_event_t *event,
                          sb_append_t *append, sb_error_t *err)
{
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
        append->command_id = sb_event_body_name(sb_buf_slice(&name));
    sb_buf_fini(&name);
    if (!id.ptr || !sb_uuid_parse(id.ptr, id.len, &event->id))
        event->id = sb_uuid_is_nil(&append->command_id) ? sb_uuid_v7() : append->command_id;
    return failed ? sb_fail(err, SB_NO_MEMORY, "append: out of memory") : SB_OK;
}

static sb_code_t fill(const sb_request_t *request, sb_slice_t key, const sb_member_t *member,
                      sb_event_body_t *body, sb_error_t *err)
{
    sb_slice_t text[MEMBERS] = {SB_SLICE_NONE};
    sb_event_t *event = &body->event;
    sb_append_t *append = &body->append;
    for (int i = 0; i < MEMBERS; i++)
        if (i != DATA && i != EXPECTED)
            text[i] = sb_member_text(&member[i], &body->scratch[i]);
    for (int i = 0; i < MEMBERS; i++)
        if (sb_buf_failed(&body->scratch[i])) /* a text that is lost is not one that is not there */
            return sb_fail(err, SB_NO_MEMORY, "append: out of memory");
    if (!text[TYPE].ptr || !sb_member_is_there(&member[DATA]))
        return sb_fail_at(err, SB_INVALID, text[TYPE].ptr ? "/data" : "/type",
                          "an event needs type and data");
    if (!text[SUBJECT].ptr)
        return sb_fail_at(err, SB_INVALID, "/subject", "subject is missing: the key of the stream");
    if (text[SPECVERSION].ptr && !sb_slice_is(text[SPECVERSION], "1.0"))
        return sb_fail_at(err, SB_UNSUPPORTED, "/specversion", "specversion 1.0 is what we read");
    *event = (sb_event_t){
        .type = text[TYPE],
        .schema_version = sb_catalog_version_of(text[DATASCHEMA]),
        .source = text[SOURCE],
        .subject = text[SUBJECT],
        .correlation_id = text[CORRELATION].ptr ? text[CORRELATION] : sb_slice(request->request_id),
        .causation_id = text[CAUSATION],
        .traceparent = text[TRACEPARENT],
        .partition_key = text[PARTITION_KEY],
        .data = member[DATA].value.text,
    };
    if (event->traceparent.ptr && !sb_traceparent_ok(event->traceparent))
        return sb_fail_at(err, SB_INVALID, "/traceparent",
                          "traceparent is not W3C trace context, as 00-0af7651916cd43dd8448eb211c80319c-"
                          "b7ad6b7169203331-01");
    if (!event->traceparent.ptr && request->traceparent[0])
        event->traceparent = sb_slice(request->traceparent);
    if (text[TIME].ptr && !sb_time_parse(text[TIME], &event->time_us))
        return sb_fail_at(err, SB_INVALID, "/time", "time is not RFC 3339, as 2026-11-21T05:19:35Z");
    *append = (sb_append_t){
        .category = sb_event_category(event->type), .key = event->subject, .events = event, .count = 1};
    sb_code_t code = identify(key, text[ID], text[SOURCE], event, append, err);
    return code == SB_OK ? read_expected(&member[EXPECTED], append, err) : code;
}

/* ---- binary mode ---- */

/* The value of a header as CloudEvents over HTTP has it: without its quotes, if it is quoted, and
 * percent-decoded once. A percent sign that begins no such thing is one. */
static void decode_value(sb_slice_t text, sb_buf_t *out)
{
    bool quoted = text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"';
    if (quoted)
        text = (sb_slice_t){text.ptr + 1, text.len - 2};
    for (size_t i = 0; i < text.len; i++) {
        bool percent = text.ptr[i] == '%' && i + 2 < text.len && sb_hex_value(text.ptr[i + 1]) >= 0 &&
                       sb_hex_value(text.ptr[i + 2]) >= 0;
        if (percent) {
            sb_buf_add_char(out, (char)(sb_hex_value(text.ptr[i + 1]) * 16 + sb_hex_value(text.ptr[i + 2])));
            i += 2;
        } else {
            i += quoted && text.ptr[i] == '\\' && i + 1 < text.len;
            sb_buf_add_char(out, text.ptr[i]);
        }
    }
}

static sb_code_t add_attribute(sb_buf_t *head, sb_slice_t name, sb_slice_t value, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    sb_buf_t text = SB_BUF_INIT;
    decode_value(value, &text);
    if (sb_buf_failed(&text))
        code = sb_fail(err, SB_NO_MEMORY, "append: out of memory");
    else if (!sb_utf8_ok(sb_buf_slice(&text)) || !sb_utf8_ok(name))
        code = sb_fail(err, SB_INVALID, "header ce-%.*s is not UTF-8 after percent-decoding",
                       SB_SLICE_ARG(name));
    else if (sb_slice_is(name, "data") || sb_slice_is(name, "expected_version"))
        code = sb_fail(
            err, SB_INVALID,
            "there is no header ce-%.*s: the body is the data; an expected_version goes with the JSON form",
            SB_SLICE_ARG(name));
    sb_buf_add_char(head, head->len > 0 ? ',' : '{');
    sb_buf_add_json(head, name);
    sb_buf_add_char(head, ':');
    sb_buf_add_json(head, sb_buf_slice(&text));
    sb_buf_fini(&text);
    return code;
}

/* The attributes are read as if they were members, the body as the member data. */
static sb_code_t read_binary(const sb_request_t *request, sb_member_t *member, sb_event_body_t *body,
                             sb_error_t *err)
{
    sb_code_t code = SB_OK;
    size_t bad_at = 0;
    const char *at = request->attributes.ptr, *end = at + request->attributes.len;
    while (code == SB_OK && at < end) {
        sb_slice_t name = sb_slice(at), value = sb_slice(at + name.len + 1);
        at = value.ptr + value.len + 1;
        code = add_attribute(&body->head, name, value, err);
    }
    sb_buf_add_char(&body->head, '}');
    if (code == SB_OK && sb_buf_failed(&body->head))
        code = sb_fail(err, SB_NO_MEMORY, "append: out of memory");
    if (code == SB_OK)
        code = sb_body_members(sb_buf_slice(&body->head), member, err);
    if (code != SB_OK)
        return sb_context(err, code, "a CloudEvent in ce- headers");
    sb_slice_t data = sb_buf_slice(&request->body);
    if (data.len == 0)
        return SB_OK; /* told as an event without data */
    if (!sb_scan_valid(data, &bad_at) || !sb_scan_at(data, SB_SLICE(""), &member[DATA].value))
        return sb_fail(err, SB_INVALID, "the body, which is the event's data, is not valid JSON at byte %zu",
                       bad_at);
    return SB_OK;
}

sb_code_t sb_event_body_read(const sb_request_t *request, sb_event_body_t *body, sb_error_t *err)
{
    sb_member_t member[MEMBERS + 1];
    memcpy(member, template, sizeof member);
    memset(body, 0, sizeof *body);
    sb_code_t code = sb_body_is_binary(request) ? read_binary(request, member, body, err)
                                                : sb_body_read(request, member, err);
    return code == SB_OK ? fill(request, sb_request_key(request), member, body, err) : code;
}

sb_code_t sb_event_body_read_item(const sb_request_t *request, sb_slice_t object, sb_event_body_t *body,
                                  sb_error_t *err)
{
    sb_member_t member[MEMBERS + 1];
    memcpy(member, template, sizeof member);
    memset(body, 0, sizeof *body);
    sb_code_t code = sb_body_members(object, member, err);
    return code == SB_OK ? fill(request, SB_SLICE(""), member, body, err) : code;
}

void sb_event_body_fini(sb_event_body_t *body)
{
    for (int i = 0; i < MEMBERS; i++)
        sb_buf_fini(&body->scratch[i]);
    sb_buf_fini(&body->head);
}
