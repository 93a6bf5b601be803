/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/message_oracle.h"

#include "base/scan.h"
#include "bus/message.h"

#include <jansson.h>
#include <stdlib.h>

typedef struct record {
    char *head;  /* names are NUL-ended here */
    char *value; /* exactly as long as the value, so that one byte too many is seen */
    size_t head_length;
    sb_message_t message;
} record_t;

/* ---- the input ---- */

static void take_line(record_t *record, char *line, size_t length)
{
    char *colon = memchr(line, ':', length);
    if (!colon)
        return;
    size_t skip = (size_t)(colon - line) + 1;
    if (skip < length && line[skip] == ' ')
        skip++;
    *colon = '\0';
    sb_slice_t value = {line + skip, length - skip};
    sb_message_t *message = &record->message;
    if (strcmp(line, "@key") == 0)
        message->key = value;
    else if (strcmp(line, "@time") == 0)
        message->time_ms = strtoll(line + skip, NULL, 10); /* ends at the line's end */
    else if (message->header_count < SB_HEADERS_MAX)
        message->headers[message->header_count++] = (sb_header_t){line, value};
}

static bool read_input(sb_slice_t input, record_t *record)
{
    const char *gap = input.len > 1 ? memmem(input.ptr, input.len, "\n\n", 2) : NULL;
    size_t value_length = gap ? input.len - (size_t)(gap - input.ptr) - 2 : 0;
    record->head_length = gap ? (size_t)(gap - input.ptr) + 1 : input.len;
    record->head = malloc(record->head_length + 1);
    record->value = malloc(value_length ? value_length : 1);
    if (!record->head || !record->value)
        return false;
    memcpy(record->head, input.ptr, record->head_length);
    record->head[record->head_length] = '\0';
    if (gap) {
        memcpy(record->value, gap + 2, value_length);
        record->message.value = (sb_slice_t){record->value, value_length};
    }
    record->message.topic = "order.events";
    for (char *line = record->head; *line && line < record->head + record->head_length;) {
        size_t length = strcspn(line, "\n");
        take_line(record, line, length);
        line += length + 1;
        if (line > record->head + record->head_length)
            break;
    }
    return true;
}

/* ---- what came out ---- */

static bool within(sb_slice_t slice, const char *from, size_t length)
{
    return slice.ptr >= from && slice.ptr + slice.len <= from + length;
}

static bool borrowed(const record_t *record, const sb_buf_t *scratch, sb_slice_t slice)
{
    return !slice.ptr || within(slice, record->head, record->head_length + 1) ||
           within(slice, record->value, record->message.value.len) ||
           (scratch->ptr && within(slice, scratch->ptr, scratch->len)) ||
           within(slice, record->message.topic, strlen(record->message.topic));
}

static const char *look(const record_t *record, const sb_buf_t *scratch, const sb_event_t *event,
                        const sb_message_info_t *info)
{
    const sb_slice_t slices[] = {event->type,           event->source,       event->subject,
                                 event->correlation_id, event->causation_id, event->traceparent,
                                 event->partition_key,  event->data,         info->id,
                                 info->data_schema,     info->content_type};
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++)
        if (!borrowed(record, scratch, slices[i]))
            return "a slice that is neither the record's nor scratch's";
    if (!event->type.len || !info->id.len || !event->source.ptr)
        return "an event without type, id or source";
    if (sb_uuid_is_nil(&event->id) && !sb_slice_is(info->id, "00000000-0000-0000-0000-000000000000"))
        return "an id that is nil";
    return event->schema_version < 0 ? "a negative version" : NULL;
}

/* ---- structured mode, beside jansson ---- */

static bool agrees(const json_t *object, const char *name, sb_slice_t have)
{
    const json_t *member = json_object_get(object, name);
    if (!json_is_string(member))
        return !have.ptr;
    return have.ptr && have.len == json_string_length(member) &&
           memcmp(have.ptr, json_string_value(member), have.len) == 0;
}

static const char *compare_structured(const sb_message_t *message, sb_code_t code, const sb_event_t *event,
                                      const sb_message_info_t *info)
{
    json_error_t fault;
    json_t *object = json_loadb(message->value.ptr ? message->value.ptr : "", message->value.len,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!object) /* its own limits (numbers, depth, names with a NUL, repeated names) are not ours */
        return NULL;
    const char *differs = NULL;
    const json_t *id = json_object_get(object, "id");
    const json_t *type = json_object_get(object, "type");
    bool whole = json_is_string(id) && json_string_length(id) > 0 && json_is_string(type) &&
                 json_string_length(type) > 0;
    if (code == SB_OK && !whole)
        differs = "an event that jansson says is none";
    else if (code == SB_INVALID && whole && !json_object_get(object, "data_base64"))
        differs = "no event, where jansson finds one";
    else if (code == SB_OK && !(agrees(object, "id", info->id) && agrees(object, "type", event->type) &&
                                agrees(object, "correlationid", event->correlation_id) &&
                                agrees(object, "causationid", event->causation_id) &&
                                agrees(object, "partitionkey", event->partition_key) &&
                                agrees(object, "dataschema", info->data_schema)))
        differs = "an attribute, from jansson's";
    else if (code == SB_OK && json_object_get(object, "source") && !agrees(object, "source", event->source) &&
             json_is_string(json_object_get(object, "source")))
        differs = "the source, from jansson's";
    json_decref(object);
    return differs;
}

/* ---- there and back ---- */

static bool same(sb_slice_t a, sb_slice_t b)
{
    return (a.ptr != NULL) == (b.ptr != NULL) && sb_slice_equal(a, b);
}

static const char *compare_events(const sb_event_t *a, const sb_event_t *b, bool with_data)
{
    if (!sb_uuid_equal(&a->id, &b->id) || !same(a->type, b->type) || a->schema_version != b->schema_version)
        return "id, type or version";
    if (!same(a->source, b->source) || (a->subject.ptr && !same(a->subject, b->subject)))
        return "source or subject";
    if (!same(a->correlation_id, b->correlation_id) || !same(a->causation_id, b->causation_id) ||
        !same(a->traceparent, b->traceparent))
        return "correlation, causation or trace";
    if (!sb_slice_equal(sb_message_key(a), sb_message_key(b)))
        return "the key";
    if (a->time_us != b->time_us)
        return "the time";
    return with_data && !same(a->data, b->data) ? "the data" : NULL;
}

static const char *read_back(const sb_event_t *event, const sb_message_headers_t *headers, sb_slice_t value,
                             bool with_data)
{
    sb_buf_t scratch = SB_BUF_INIT;
    sb_event_t back;
    sb_message_info_t info;
    sb_message_t message = {.topic = "order.events", .key = sb_message_key(event), .value = value};
    memcpy(message.headers, headers->header, headers->count * sizeof headers->header[0]);
    message.header_count = headers->count;
    const char *fault = sb_message_decode(&message, &scratch, &back, &info, NULL) == SB_OK
                            ? compare_events(event, &back, with_data)
                            : "that it can be read again";
    sb_buf_fini(&scratch);
    return fault;
}

static bool is_text(const sb_event_t *event)
{
    const sb_slice_t texts[] = {event->type,           event->source,       event->subject,
                                event->correlation_id, event->causation_id, event->traceparent,
                                event->partition_key};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!sb_utf8_ok(texts[i]))
            return false;
    return true;
}

static const char *there_and_back(const sb_event_t *event)
{
    sb_message_headers_t headers;
    sb_buf_t value = SB_BUF_INIT;
    if (!sb_event_type_ok(event->type))
        return NULL; /* nothing that we would send */
    sb_message_encode(event, NULL, &headers);
    bool framed = event->data.len >= 5 && event->data.ptr[0] == '\0';
    const char *fault = framed ? NULL : read_back(event, &headers, event->data, true);
    bool is_json = !event->data.ptr || sb_scan_valid(event->data, NULL);
    if (!fault && is_json && is_text(event) &&
        sb_message_encode_structured(event, NULL, &value, &headers, NULL) == SB_OK) {
        char *exact = malloc(value.len);
        if (exact)
            memcpy(exact, value.ptr, value.len);
        /* white space around the data is not the data's */
        fault = exact ? read_back(event, &headers, (sb_slice_t){exact, value.len}, false) : NULL;
        free(exact);
    }
    sb_buf_fini(&value);
    return fault;
}

/* Who hands a record on before it is read must know the same of it. */
static const char *compare_glance(const sb_message_t *message, const sb_event_t *event,
                                  const sb_message_info_t *info)
{
    sb_slice_t type = SB_SLICE_NONE;
    sb_message_info_t seen = {.has_position = false};
    if (!sb_message_glance(message, &type, &seen))
        return info->structured ? NULL : "a glance that takes it for structured mode";
    if (info->structured || !type.ptr || !sb_slice_equal(type, event->type) ||
        seen.has_position != info->has_position ||
        (seen.has_position && memcmp(&seen.position, &info->position, sizeof seen.position) != 0))
        return "a glance that says something else";
    return NULL;
}

const char *sb_message_fault(sb_slice_t input, sb_code_t *code)
{
    record_t record = {.head = NULL};
    sb_buf_t scratch = SB_BUF_INIT;
    sb_event_t event;
    sb_message_info_t info;
    sb_error_t err = SB_ERROR_INIT;
    const char *fault = NULL;
    sb_code_t got = SB_NO_MEMORY;
    if (read_input(input, &record)) {
        got = sb_message_decode(&record.message, &scratch, &event, &info, &err);
        if (got != SB_OK && got != SB_INVALID && got != SB_UNSUPPORTED && got != SB_NO_MEMORY)
            fault = "a code that is not promised";
        else if ((got == SB_OK) != (err.code == SB_OK))
            fault = "an error that is not told";
        if (!fault && got == SB_OK)
            fault = look(&record, &scratch, &event, &info);
        if (!fault && got == SB_OK)
            fault = compare_glance(&record.message, &event, &info);
        if (!fault && got != SB_UNSUPPORTED && info.structured)
            fault = compare_structured(&record.message, got, &event, &info);
        if (!fault && got == SB_OK)
            fault = there_and_back(&event);
    }
    sb_buf_fini(&scratch);
    free(record.head);
    free(record.value);
    if (code)
        *code = got;
    return fault;
}
