/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/message.h"

#include "base/base64.h"
#include "base/scan.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define FRAME_BYTES 5 /* Confluent: a zero, then four bytes of schema id */

/* ---- writing ---- */

static void put(sb_message_headers_t *out, const char *name, sb_slice_t value)
{
    if (value.ptr)
        out->header[out->count++] = (sb_header_t){name, value};
}

sb_slice_t sb_message_key(const sb_event_t *event)
{
    return event->partition_key.ptr ? event->partition_key : event->subject;
}

/* "order.created.v2"; once an event, and printf would be half of the whole encoding. */
static sb_slice_t schema_name(const sb_event_t *event, char *text, size_t size)
{
    char digits[12];
    size_t count = 0;
    if (event->schema_version <= 0)
        return SB_SLICE_NONE;
    for (int v = event->schema_version; v > 0; v /= 10)
        digits[count++] = (char)('0' + v % 10);
    size_t room = size - count - 3;
    size_t n = event->type.len < room ? event->type.len : room;
    memcpy(text, event->type.ptr, n);
    text[n++] = '.';
    text[n++] = 'v';
    while (count > 0)
        text[n++] = digits[--count];
    return (sb_slice_t){text, n};
}

/* Every attribute that an event has, under its header's name in binary mode: the one list of both modes. */
static void put_attributes(sb_message_headers_t *out, const sb_event_t *event)
{
    out->count = 0;
    put(out, "ce_specversion", SB_SLICE("1.0"));
    put(out, "ce_id", (sb_slice_t){sb_uuid_format(&event->id, out->id), SB_UUID_TEXT - 1});
    put(out, "ce_type", event->type);
    put(out, "ce_source", event->source.ptr ? event->source : SB_SLICE("/sagabus"));
    put(out, "ce_subject", event->subject);
    put(out, "ce_time", sb_slice(sb_time_format(event->time_us, out->time)));
    put(out, "ce_dataschema", schema_name(event, out->schema, sizeof out->schema));
    put(out, "ce_correlationid", event->correlation_id);
    put(out, "ce_causationid", event->causation_id);
    if (event->partition_key.ptr && !sb_slice_equal(event->partition_key, event->subject))
        put(out, "ce_partitionkey", event->partition_key);
    put(out, "traceparent", event->traceparent);
}

static void put_position(sb_message_headers_t *out, const sb_position_t *position)
{
    if (position)
        put(out, SB_POSITION_HEADER,
            (sb_slice_t){out->position, sb_position_format(position, out->position)});
}

void sb_message_encode(const sb_event_t *event, const sb_position_t *position, sb_message_headers_t *out)
{
    put_attributes(out, event);
    put(out, "content-type", SB_SLICE("application/json"));
    put_position(out, position);
}

/* As members of a JSON object that is open. */
static void add_members(sb_buf_t *out, const sb_message_headers_t *attributes)
{
    for (size_t i = 0; i < attributes->count; i++) {
        const sb_header_t *header = &attributes->header[i];
        bool prefixed = strncmp(header->name, "ce_", 3) == 0;
        sb_buf_add_text(out, i > 0 ? ",\"" : "\"");
        sb_buf_add_text(out, header->name + (prefixed ? 3 : 0));
        sb_buf_add_text(out, "\":");
        sb_buf_add_json(out, header->value);
    }
}

sb_code_t sb_message_encode_structured(const sb_event_t *event, const sb_position_t *position,
                                       sb_buf_t *value, sb_message_headers_t *out, sb_error_t *err)
{
    sb_buf_reset(value);
    sb_buf_add_char(value, '{');
    put_attributes(out, event);
    add_members(value, out);
    if (event->data.ptr) {
        sb_buf_add_text(value, ",\"datacontenttype\":\"application/json\",\"data\":");
        sb_buf_add_slice(value, event->data);
    }
    sb_buf_add_char(value, '}');
    out->count = 0;
    put(out, "traceparent", event->traceparent);
    put(out, "content-type", SB_SLICE("application/cloudevents+json; charset=UTF-8"));
    put_position(out, position);
    return sb_buf_failed(value) ? sb_fail(err, SB_NO_MEMORY, "write an event: out of memory") : SB_OK;
}

/* ---- reading ---- */

sb_slice_t sb_message_header(const sb_message_t *message, const char *name)
{
    for (size_t i = message->header_count; i-- > 0;)
        if (strcmp(message->headers[i].name, name) == 0)
            return message->headers[i].value;
    return SB_SLICE_NONE;
}

/* Ids of others need not be UUIDs; the same source and id always give the same one. */
static sb_uuid_t uuid_of(sb_slice_t source, sb_slice_t id, sb_buf_t *scratch)
{
    static const sb_uuid_t space = {
        {0x5a, 0x67, 0xab, 0x05, 0x0c, 0xe1, 0x4d, 0x11, 0x9b, 0x1d, 0x5a, 0x67, 0xab, 0x05, 0x0c, 0xe1}};
    sb_uuid_t uuid = SB_UUID_NIL;
    if (sb_uuid_parse(id.ptr, id.len, &uuid))
        return uuid;
    size_t start = scratch->len;
    sb_buf_add_slice(scratch, source);
    sb_buf_add_char(scratch, '\n');
    sb_buf_add_slice(scratch, id);
    if (!sb_buf_failed(scratch))
        uuid = sb_uuid_v5(&space, scratch->ptr + start, scratch->len - start);
    return uuid;
}

/* "order.created.v2" for type "order.created" is 2; also at the end of a URI. 0: not of that form. */
static int version_of(sb_slice_t schema, sb_slice_t type)
{
    size_t at = schema.len;
    int version = 0;
    int scale = 1;
    while (at > 0 && schema.ptr[at - 1] >= '0' && schema.ptr[at - 1] <= '9' && scale <= 100000) {
        version += (schema.ptr[--at] - '0') * scale;
        scale *= 10;
    }
    if (scale == 1 || at < 2 || schema.ptr[at - 1] != 'v' || schema.ptr[at - 2] != '.')
        return 0;
    sb_slice_t name = {schema.ptr, at - 2};
    if (name.len < type.len)
        return 0;
    sb_slice_t tail = {name.ptr + name.len - type.len, type.len};
    bool whole = name.len == type.len || tail.ptr[-1] == '/' || tail.ptr[-1] == ':' || tail.ptr[-1] == '#';
    return whole && sb_slice_equal(tail, type) ? version : 0;
}

static sb_slice_t first_of(sb_slice_t a, sb_slice_t b)
{
    return a.ptr ? a : b;
}

/* A producer may write any 64 bits as the record's time; what no calendar of ours can write is no time. */
static int64_t time_of_record(int64_t time_ms)
{
    static const int64_t year_10000_ms = 253402300800000;
    return time_ms >= 0 && time_ms < year_10000_ms ? time_ms * 1000 : 0;
}

/* The headers that are read, found in one pass: a look-up for each would compare every name with every
 * header. */
typedef enum field {
    ID,
    TYPE,
    SOURCE,
    SUBJECT,
    TIME,
    SCHEMA,
    SPEC,
    CORRELATION,
    CAUSATION,
    PARTITION_KEY,
    CE_TRACE,
    TRACE,
    CONTENT,
    POSITION,
    OUTBOX_ID,
    OUTBOX_TYPE,
    FIELDS
} field_t;

typedef struct fields {
    sb_slice_t at[FIELDS];
} fields_t;

/* By length: a name is compared with those of its length alone. */
const sb_message_name_t sb_message_names[SB_MESSAGE_NAMES] = {
    {"id", 2, OUTBOX_ID},
    {"ce_id", 5, ID},
    {SB_POSITION_HEADER, sizeof SB_POSITION_HEADER - 1, POSITION},
    {"ce_type", 7, TYPE},
    {"ce_time", 7, TIME},
    {"ce_source", 9, SOURCE},
    {"eventType", 9, OUTBOX_TYPE},
    {"ce_subject", 10, SUBJECT},
    {"traceparent", 11, TRACE},
    {"content-type", 12, CONTENT},
    {"ce_dataschema", 13, SCHEMA},
    {"ce_specversion", 14, SPEC},
    {"ce_causationid", 14, CAUSATION},
    {"ce_traceparent", 14, CE_TRACE},
    {"ce_partitionkey", 15, PARTITION_KEY},
    {"ce_correlationid", 16, CORRELATION}};
static_assert(FIELDS == SB_MESSAGE_NAMES, "each field has one name");

static const sb_message_name_t *find_name(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < FIELDS && sb_message_names[i].length <= length; i++)
        if (sb_message_names[i].length == length && memcmp(sb_message_names[i].text, name, length) == 0)
            return &sb_message_names[i];
    return NULL;
}

/* The producer of a topic writes its headers in one order, so it is looked first where the same place of the
 * record before led. */
void sb_message_know_names(sb_header_t *headers, size_t count)
{
    static _Thread_local uint8_t guess[SB_HEADERS_MAX];
    uint8_t *at = guess;
    for (size_t i = 0; i < count; i++) {
        const sb_message_name_t *name = &sb_message_names[at[i]];
        if (strcmp(headers[i].name, name->text) != 0) {
            name = find_name(headers[i].name);
            at[i] = name ? (uint8_t)(name - sb_message_names) : at[i];
        }
        if (name)
            headers[i].name = name->text;
    }
}

static field_t field_of(const char *name)
{
    const sb_message_name_t *found =
        sb_message_is_known_name(name) ? (const sb_message_name_t *)(const void *)name : find_name(name);
    return found ? (field_t)found->field : FIELDS;
}

/* The last one of a name counts. */
static void read_fields(const sb_message_t *message, fields_t *out)
{
    *out = (fields_t){{{NULL, 0}}};
    for (size_t i = 0; i < message->header_count; i++) {
        field_t field = field_of(message->headers[i].name);
        if (field != FIELDS)
            out->at[field] = message->headers[i].value;
    }
}

/* What both modes end with. */
static sb_code_t finish(const sb_message_t *message, const fields_t *fields, sb_slice_t time,
                        sb_buf_t *scratch, sb_event_t *event, sb_message_info_t *info, sb_error_t *err)
{
    if (sb_buf_failed(scratch))
        return sb_fail(err, SB_NO_MEMORY, "event from %s: out of memory", message->topic);
    if (!info->id.len)
        return sb_fail(err, SB_INVALID, "%s %d@%lld is no event: it has no id", message->topic,
                       message->partition, (long long)message->offset);
    if (!event->type.len)
        return sb_fail(err, SB_INVALID, "%s %d@%lld is no event: it has no type", message->topic,
                       message->partition, (long long)message->offset);
    event->source = first_of(event->source, sb_slice(message->topic));
    event->subject = first_of(event->subject, message->key);
    event->schema_version = version_of(info->data_schema, event->type);
    if (!time.ptr || !sb_time_parse(time, &event->time_us))
        event->time_us = time_of_record(message->time_ms);
    info->has_position = sb_position_parse(fields->at[POSITION], &info->position);
    event->id = uuid_of(event->source, info->id, scratch);
    return sb_buf_failed(scratch) ? sb_fail(err, SB_NO_MEMORY, "event from %s: out of memory", message->topic)
                                  : SB_OK;
}

/* Confluent's serializers put a frame before the value: left out when JSON follows. What else they frame
 * (Avro, Protobuf) would reach a handler as garbage, so it is refused by name. */
static sb_code_t unframe(const sb_message_t *message, sb_slice_t *value, sb_message_info_t *info,
                         sb_error_t *err)
{
    if (value->len < FRAME_BYTES || value->ptr[0] != '\0') /* no JSON begins with a zero byte */
        return SB_OK;
    const uint8_t *at = (const uint8_t *)value->ptr;
    info->framed = true;
    info->frame_schema = (uint32_t)at[1] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 8 | at[4];
    *value = (sb_slice_t){value->ptr + FRAME_BYTES, value->len - FRAME_BYTES};
    if (sb_scan_valid(*value, NULL))
        return SB_OK;
    return sb_fail(err, SB_UNSUPPORTED,
                   "%s %d@%lld has Confluent's frame of schema id %u, and what follows is not JSON: Avro and "
                   "Protobuf are not read",
                   message->topic, message->partition, (long long)message->offset, info->frame_schema);
}

/* Another major version has other attributes. Debezium's outbox says none. */
static sb_code_t check_version(const sb_message_t *message, sb_slice_t version, sb_error_t *err)
{
    if (!version.ptr || sb_slice_starts(version, "1."))
        return SB_OK;
    return sb_fail(err, SB_UNSUPPORTED, "%s %d@%lld: CloudEvents specversion %.*s is not read, only 1.x",
                   message->topic, message->partition, (long long)message->offset, SB_SLICE_ARG(version));
}

static sb_code_t decode_binary(const sb_message_t *message, const fields_t *fields, sb_buf_t *scratch,
                               sb_event_t *event, sb_message_info_t *info, sb_error_t *err)
{
    const sb_slice_t *at = fields->at;
    info->id = first_of(at[ID], at[OUTBOX_ID]);
    info->data_schema = at[SCHEMA];
    event->type = first_of(at[TYPE], at[OUTBOX_TYPE]);
    event->source = at[SOURCE];
    event->subject = at[SUBJECT];
    event->correlation_id = at[CORRELATION];
    event->causation_id = at[CAUSATION];
    event->partition_key = at[PARTITION_KEY];
    event->traceparent = first_of(at[TRACE], at[CE_TRACE]);
    event->data = message->value;
    info->content_type = at[CONTENT];
    sb_code_t code = check_version(message, at[SPEC], err);
    if (code == SB_OK)
        code = unframe(message, &event->data, info, err);
    if (code != SB_OK)
        return code;
    return finish(message, fields, at[TIME], scratch, event, info, err);
}

/* The text of a string member, unescaped into scratch, which has room for all of them: an unescaped string
 * is never longer than its text. */
static sb_slice_t text_member(sb_slice_t object, const char *name, sb_buf_t *scratch, sb_buf_t *one)
{
    sb_scan_value_t value;
    if (!sb_scan_field(object, name, &value) || value.kind != SB_SCAN_STRING)
        return SB_SLICE_NONE;
    sb_slice_t text = sb_scan_string(&value, one);
    scratch->failed |= sb_buf_failed(one); /* a text that is lost is not one that is not there */
    if (!value.escaped || !text.ptr)
        return text;
    size_t start = scratch->len;
    sb_buf_add_slice(scratch, text);
    return sb_buf_failed(scratch) ? SB_SLICE_NONE : (sb_slice_t){scratch->ptr + start, text.len};
}

static sb_code_t structured_data(const sb_message_t *message, sb_buf_t *scratch, sb_buf_t *one,
                                 sb_event_t *event, sb_error_t *err)
{
    sb_scan_value_t data;
    if (sb_scan_field(message->value, "data", &data))
        event->data = data.text;
    sb_slice_t text = text_member(message->value, "data_base64", scratch, one);
    if (!text.ptr)
        return SB_OK;
    size_t start = scratch->len; /* there is room */
    if (sb_base64_decode(scratch, text)) {
        event->data = (sb_slice_t){scratch->ptr + start, scratch->len - start};
        return SB_OK;
    }
    return sb_fail(err, SB_INVALID, "%s %d@%lld: data_base64 is not base64", message->topic,
                   message->partition, (long long)message->offset);
}

static sb_code_t decode_structured(const sb_message_t *message, const fields_t *fields, sb_buf_t *scratch,
                                   sb_event_t *event, sb_message_info_t *info, sb_error_t *err)
{
    sb_slice_t object = message->value;
    sb_buf_t one = SB_BUF_INIT;
    info->structured = true;
    if (!object.ptr || !sb_scan_valid(object, NULL))
        return sb_fail(err, SB_INVALID, "%s %d@%lld: the value is not JSON", message->topic,
                       message->partition, (long long)message->offset);
    /* Borrowed slices must not move: room for all text, and for the name that an id is made from. */
    (void)sb_buf_reserve(scratch, 2 * object.len + strlen(message->topic) + 1);
    info->id = text_member(object, "id", scratch, &one);
    info->data_schema = text_member(object, "dataschema", scratch, &one);
    event->type = text_member(object, "type", scratch, &one);
    event->source = text_member(object, "source", scratch, &one);
    event->subject = text_member(object, "subject", scratch, &one);
    event->correlation_id = text_member(object, "correlationid", scratch, &one);
    event->causation_id = text_member(object, "causationid", scratch, &one);
    event->partition_key = text_member(object, "partitionkey", scratch, &one);
    event->traceparent = first_of(fields->at[TRACE], text_member(object, "traceparent", scratch, &one));
    info->content_type = text_member(object, "datacontenttype", scratch, &one);
    sb_slice_t time = text_member(object, "time", scratch, &one);
    sb_slice_t version = text_member(object, "specversion", scratch, &one);
    sb_code_t code = sb_buf_failed(scratch)
                         ? sb_fail(err, SB_NO_MEMORY, "event from %s: out of memory", message->topic)
                         : check_version(message, version, err);
    if (code == SB_OK)
        code = structured_data(message, scratch, &one, event, err);
    if (code == SB_OK)
        code = finish(message, fields, time, scratch, event, info, err);
    sb_buf_fini(&one);
    return code;
}

/* By the Kafka binding a content type that begins so is structured mode, whatever follows. */
static const char structured_type[] = "application/cloudevents";

static bool is_structured(sb_slice_t content)
{
    return content.len >= sizeof structured_type - 1 &&
           strncasecmp(content.ptr, structured_type, sizeof structured_type - 1) == 0;
}

/* The binding has no batch mode, and of the event formats we read JSON. */
static bool is_json_format(sb_slice_t content)
{
    sb_slice_t rest = {content.ptr + sizeof structured_type - 1, content.len - (sizeof structured_type - 1)};
    if (rest.len >= 5 && strncasecmp(rest.ptr, "+json", 5) == 0)
        rest = (sb_slice_t){rest.ptr + 5, rest.len - 5};
    return rest.len == 0 || rest.ptr[0] == ';' || rest.ptr[0] == ' ';
}

bool sb_message_glance(const sb_message_t *message, sb_slice_t *type, sb_message_info_t *info)
{
    sb_slice_t content = SB_SLICE_NONE;
    sb_slice_t position = SB_SLICE_NONE;
    sb_slice_t own_type = SB_SLICE_NONE;
    sb_slice_t outbox_type = SB_SLICE_NONE;
    for (size_t i = 0; i < message->header_count; i++) {
        field_t field = field_of(message->headers[i].name);
        if (field == TYPE)
            own_type = message->headers[i].value;
        else if (field == POSITION)
            position = message->headers[i].value;
        else if (field == CONTENT)
            content = message->headers[i].value;
        else if (field == OUTBOX_TYPE)
            outbox_type = message->headers[i].value;
    }
    if (is_structured(content))
        return false;
    *type = first_of(own_type, outbox_type);
    info->has_position = sb_position_parse(position, &info->position);
    return true;
}

sb_code_t sb_message_decode(const sb_message_t *message, sb_buf_t *scratch, sb_event_t *event,
                            sb_message_info_t *info, sb_error_t *err)
{
    fields_t fields;
    read_fields(message, &fields);
    sb_slice_t content = fields.at[CONTENT];
    *event = (sb_event_t){.event_class = SB_CLASS_DOMAIN};
    *info = (sb_message_info_t){.structured = false};
    sb_buf_reset(scratch);
    if (!is_structured(content))
        return decode_binary(message, &fields, scratch, event, info, err);
    if (is_json_format(content))
        return decode_structured(message, &fields, scratch, event, info, err);
    return sb_fail(err, SB_UNSUPPORTED,
                   "%s %d@%lld: content type %.*s is not read; of CloudEvents' formats only "
                   "application/cloudevents+json, one event a record",
                   message->topic, message->partition, (long long)message->offset, SB_SLICE_ARG(content));
}
