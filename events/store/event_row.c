/* An event as the store keeps it: the attributes beside the body go to one JSON object, and come back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "events/store/store.h"

#define DEFAULT_SOURCE "/sagabus"

typedef struct attribute {
    const char *name;
    size_t offset; /* of its slice in sb_event_t */
} attribute_t;

static const attribute_t attributes[] = {
    {"source", offsetof(sb_event_t, source)},
    {"correlationid", offsetof(sb_event_t, correlation_id)},
    {"causationid", offsetof(sb_event_t, causation_id)},
    {"traceparent", offsetof(sb_event_t, traceparent)},
    {"partitionkey", offsetof(sb_event_t, partition_key)},
};

#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

void sb_event_meta(const sb_event_t *event, sb_buf_t *out)
{
    size_t written = 0;
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        sb_slice_t value;
        memcpy(&value, (const char *)event + attributes[i].offset, sizeof value);
        if (!value.ptr ||
            (attributes[i].offset == offsetof(sb_event_t, source) && sb_slice_is(value, DEFAULT_SOURCE)))
            continue;
        sb_buf_printf(out, "%c\"%s\":", written++ ? ',' : '{', attributes[i].name);
        sb_buf_add_json(out, value);
    }
    if (written)
        sb_buf_add_char(out, '}');
}

/* Copies an escaped string to scratch, which has room for the whole of meta and so never moves. */
static sb_slice_t text_of(const sb_scan_value_t *value, sb_buf_t *scratch)
{
    sb_buf_t plain = SB_BUF_INIT;
    sb_slice_t text = sb_scan_string(value, &plain);
    if (value->escaped) {
        size_t at = scratch->len;
        sb_buf_add_slice(scratch, text);
        text = (sb_slice_t){scratch->ptr + at, text.len};
        scratch->failed |= sb_buf_failed(&plain);
    }
    sb_buf_fini(&plain);
    return text;
}

static void read_meta(sb_slice_t meta, sb_buf_t *scratch, sb_event_t *event)
{
    sb_scan_value_t name, value;
    if (!sb_buf_reserve(scratch, meta.len + 1))
        return;
    for (size_t at = 0; sb_scan_next(meta, &at, &name, &value);) {
        for (size_t i = 0; i < ATTRIBUTES && value.kind == SB_SCAN_STRING; i++) {
            size_t length = strlen(attributes[i].name);
            if (name.text.len != length + 2 || memcmp(name.text.ptr + 1, attributes[i].name, length) != 0)
                continue;
            sb_slice_t text = text_of(&value, scratch);
            memcpy((char *)event + attributes[i].offset, &text, sizeof text);
        }
    }
}

sb_code_t sb_event_from_row(const sb_catalog_t *catalog, const sb_slice_t fields[10], sb_buf_t *scratch,
                            sb_event_t *event, const sb_upcast_chain_t **chain, sb_error_t *err)
{
    int type_no = (int)sb_pg_read_int(fields[4]);
    const sb_event_type_t *type = sb_catalog_chain_no(catalog, type_no, chain);
    *event = (sb_event_t){
        .source = SB_SLICE(DEFAULT_SOURCE),
        .seq = sb_pg_read_int(fields[0]),
        .stream_no = sb_pg_read_int(fields[1]),
        .time_us = sb_pg_read_time(fields[2]),
        .stream_version = (int)sb_pg_read_int(fields[3]),
        .event_class = (sb_event_class_t)sb_pg_read_int(fields[5]),
        .data = fields[8],
        .subject = fields[9],
    };
    if (!type) {
        sb_code_t code = sb_catalog_explain(catalog, type_no, err);
        return sb_context(err, code, "event %lld", (long long)event->seq);
    }
    if (fields[6].len != sizeof event->id.byte)
        return sb_fail(err, SB_CORRUPT, "event %lld: its id has %zu bytes", (long long)event->seq,
                       fields[6].len);
    memcpy(event->id.byte, fields[6].ptr, sizeof event->id.byte);
    event->type = sb_slice(type->name);
    event->schema_version = event->written_version = type->version;
    sb_buf_reset(scratch);
    if (fields[7].len)
        read_meta(fields[7], scratch, event);
    return sb_buf_failed(scratch)
               ? sb_fail(err, SB_NO_MEMORY, "event %lld: out of memory", (long long)event->seq)
               : SB_OK;
}
