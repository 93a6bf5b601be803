/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/event_body.h"

#include "base/scan.h"

#include <assert.h>
#include <inttypes.h>

/* What is as usual is left out: forward, round 1, try 1. */
#define USUAL_ROUND   1
#define USUAL_ATTEMPT 1

/* ---- writing ---- */

static void add_number(sb_buf_t *out, int64_t number)
{
    char text[20];
    size_t at = sizeof text;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        sb_buf_add_char(out, '-');
    sb_buf_add(out, text + at, sizeof text - at);
}

/* Writes the members of one object. */
typedef struct writer {
    sb_buf_t *out;
    bool any;
} writer_t;

static void add_name(writer_t *writer, const char *name)
{
    sb_buf_add_char(writer->out, writer->any ? ',' : '{');
    sb_buf_add_char(writer->out, '"');
    sb_buf_add_text(writer->out, name);
    sb_buf_add(writer->out, "\":", 2);
    writer->any = true;
}

static void add_text(writer_t *writer, const char *name, sb_slice_t text)
{
    if (!text.ptr)
        return;
    add_name(writer, name);
    sb_buf_add_json(writer->out, text);
}

static void add_integer(writer_t *writer, const char *name, int64_t number, int64_t usual)
{
    if (number == usual)
        return;
    add_name(writer, name);
    add_number(writer->out, number);
}

static void add_head(writer_t *writer, const sb_saga_event_t *event, const sb_saga_head_t *head)
{
    char id[SB_UUID_TEXT], hash[SB_HASH_TEXT];
    add_text(writer, "saga_id", sb_slice(sb_uuid_format(&head->id, id)));
    add_text(writer, "saga_type", head->type);
    add_text(writer, "key", head->key);
    if (event->kind != SB_SAGA_EV_STARTED && event->kind != SB_SAGA_EV_MIGRATED)
        return;
    add_text(writer, "definition", sb_slice(sb_hash_format(&head->definition_hash, hash)));
    add_integer(writer, "machine", SB_MACHINE_VERSION, 0);
    if (event->voided) {
        add_name(writer, "void");
        sb_buf_add(writer->out, "true", 4);
    }
}

static void add_step(writer_t *writer, const sb_definition_t *definition, const sb_saga_event_t *event)
{
    add_text(writer, "step", sb_slice(definition->step[event->step].name));
    if (event->direction == SB_COMPENSATE)
        add_text(writer, "direction", SB_SLICE("compensate"));
    add_integer(writer, "round", event->round, USUAL_ROUND);
    add_integer(writer, "attempt", event->attempt, USUAL_ATTEMPT);
    add_integer(writer, "wake_us", event->wake_us, 0);
    if (event->unknown) {
        add_name(writer, "unknown");
        sb_buf_add(writer->out, "true", 4);
    }
    if (event->fallback) {
        add_name(writer, "fallback");
        sb_buf_add(writer->out, "true", 4);
    }
    add_text(writer, "class", sb_slice(sb_error_class_name(event->error_class)));
    if (event->pause) {
        add_name(writer, "pause");
        sb_buf_add(writer->out, "true", 4);
    }
    if (event->input.ptr) {
        add_name(writer, "input");
        sb_buf_add_slice(writer->out, event->input);
    }
    if (event->result.ptr) {
        add_name(writer, "result");
        sb_buf_add_slice(writer->out, event->result);
    }
}

/* Whoever is alarmed by an anomaly looks for its kind over all events, where nothing else names the saga. */
static bool needs_head(sb_saga_event_kind_t kind)
{
    return kind == SB_SAGA_EV_STARTED || kind == SB_SAGA_EV_COMPLETED || kind == SB_SAGA_EV_COMPENSATED ||
           kind == SB_SAGA_EV_FAILED || kind == SB_SAGA_EV_MIGRATED || kind == SB_SAGA_EV_ANOMALY;
}

void sb_saga_event_write(const sb_definition_t *definition, const sb_saga_event_t *event,
                         const sb_saga_head_t *head, sb_buf_t *out)
{
    writer_t writer = {out, false};
    assert(head || !needs_head(event->kind));
    if (needs_head(event->kind))
        add_head(&writer, event, head);
    if (event->step >= 0)
        add_step(&writer, definition, event);
    add_text(&writer, "error", event->error);
    add_text(&writer, "by", event->by);
    add_text(&writer, "reason", event->reason);
    if (!writer.any)
        sb_buf_add_char(out, '{');
    sb_buf_add_char(out, '}');
}

/* ---- reading ---- */

typedef struct reader {
    const sb_definition_t *definition;
    sb_buf_t *scratch; /* as large as the data from the start: it does not move */
    sb_saga_event_t *out;
    int64_t machine; /* of what it says, the version; 0: it says none */
} reader_t;

/* A text that stays: each is put behind the one before it. */
static bool read_text(reader_t *reader, const sb_scan_value_t *value, sb_slice_t *out)
{
    if (value->kind != SB_SCAN_STRING)
        return false;
    sb_buf_t unescaped = SB_BUF_INIT;
    *out = sb_scan_string(value, &unescaped);
    if (value->escaped && out->ptr) {
        size_t at = reader->scratch->len;
        sb_buf_add_slice(reader->scratch, *out);
        *out = (sb_slice_t){reader->scratch->ptr + at, out->len};
    }
    sb_buf_fini(&unescaped);
    return out->ptr && !sb_buf_failed(reader->scratch);
}

static bool read_small(const sb_scan_value_t *value, uint16_t *out)
{
    int64_t number;
    if (!sb_scan_int64(value, &number) || number < 0 || number > UINT16_MAX)
        return false;
    *out = (uint16_t)number;
    return true;
}

static bool read_step(reader_t *reader, const sb_scan_value_t *value)
{
    sb_slice_t name;
    if (!read_text(reader, value, &name))
        return false;
    reader->out->step = sb_definition_step(reader->definition, name);
    return reader->out->step >= 0;
}

static bool read_direction(reader_t *reader, const sb_scan_value_t *value)
{
    reader->out->direction = SB_COMPENSATE;
    return sb_slice_is(value->text, "\"compensate\"");
}

static bool read_unknown(reader_t *reader, const sb_scan_value_t *value)
{
    reader->out->unknown = value->kind == SB_SCAN_TRUE;
    return reader->out->unknown;
}

/* One that a later release added counts as not said. */
static bool read_class(reader_t *reader, const sb_scan_value_t *value)
{
    sb_slice_t name;
    if (!read_text(reader, value, &name))
        return false;
    reader->out->error_class = sb_error_class_of(name);
    return true;
}

static bool read_member(reader_t *reader, sb_slice_t name, const sb_scan_value_t *value)
{
    sb_saga_event_t *out = reader->out;
    if (sb_slice_is(name, "\"step\""))
        return read_step(reader, value);
    if (sb_slice_is(name, "\"result\"")) {
        out->result = value->text;
        return true;
    }
    if (sb_slice_is(name, "\"input\"")) {
        out->input = value->text;
        return true;
    }
    if (sb_slice_is(name, "\"pause\"")) {
        out->pause = value->kind == SB_SCAN_TRUE;
        return true;
    }
    if (sb_slice_is(name, "\"direction\""))
        return read_direction(reader, value);
    if (sb_slice_is(name, "\"round\""))
        return read_small(value, &out->round);
    if (sb_slice_is(name, "\"attempt\""))
        return read_small(value, &out->attempt);
    if (sb_slice_is(name, "\"wake_us\""))
        return sb_scan_int64(value, &out->wake_us);
    if (sb_slice_is(name, "\"unknown\""))
        return read_unknown(reader, value);
    if (sb_slice_is(name, "\"error\""))
        return read_text(reader, value, &out->error);
    if (sb_slice_is(name, "\"class\""))
        return read_class(reader, value);
    if (sb_slice_is(name, "\"fallback\"")) {
        out->fallback = value->kind == SB_SCAN_TRUE;
        return true;
    }
    if (sb_slice_is(name, "\"void\"")) {
        out->voided = value->kind == SB_SCAN_TRUE;
        return true;
    }
    if (sb_slice_is(name, "\"machine\""))
        return sb_scan_int64(value, &reader->machine);
    if (sb_slice_is(name, "\"by\""))
        return read_text(reader, value, &out->by);
    if (sb_slice_is(name, "\"reason\""))
        return read_text(reader, value, &out->reason);
    return true;
}

static bool read_members(reader_t *reader, sb_slice_t data)
{
    size_t at = 0;
    sb_scan_value_t name, value;
    while (sb_scan_next(data, &at, &name, &value)) {
        if (!read_member(reader, name.text, &value))
            return false;
    }
    return at != SIZE_MAX;
}

sb_code_t sb_saga_event_read(const sb_definition_t *definition, sb_slice_t type, int64_t at_us,
                             sb_slice_t data, sb_buf_t *scratch, sb_saga_event_t *out, sb_error_t *err)
{
    *out = (sb_saga_event_t){.at_us = at_us, .step = -1, .round = USUAL_ROUND, .attempt = USUAL_ATTEMPT};
    reader_t reader = {definition, scratch, out, 0};
    if (!sb_saga_event_kind_of(type, &out->kind))
        return sb_fail(err, SB_CORRUPT, "saga %s: %.*s is no event of a saga", definition->name,
                       SB_SLICE_ARG(type));
    sb_buf_reset(scratch);
    if (memchr(data.ptr ? data.ptr : "", '\\', data.len) && !sb_buf_reserve(scratch, data.len))
        return sb_fail(err, SB_NO_MEMORY, "saga %s: read %s: out of memory", definition->name,
                       sb_saga_event_type(out->kind));
    if (!read_members(&reader, data)) {
        if (sb_buf_failed(scratch))
            return sb_fail(err, SB_NO_MEMORY, "saga %s: read %s: out of memory", definition->name,
                           sb_saga_event_type(out->kind));
        return sb_fail(err, SB_CORRUPT, "saga %s: this is no body of %s: %.*s", definition->name,
                       sb_saga_event_type(out->kind), (int)(data.len < 200 ? data.len : 200), data.ptr);
    }
    if (reader.machine > SB_MACHINE_VERSION)
        return sb_fail(err, SB_UNSUPPORTED,
                       "saga %s: it was started by a later release (machine %" PRId64
                       ", this one knows %d): only "
                       "that one drives it",
                       definition->name, reader.machine, SB_MACHINE_VERSION);
    if (out->step < 0)
        out->round = out->attempt = 0;
    return SB_OK;
}
